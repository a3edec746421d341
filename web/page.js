() => {
  // Runs once, when the page has been loaded. What a person can do without it works without it.
  if (window.t2vPage) return;
  window.t2vPage = true;
  const title = document.title;
  const visible = (selector) => [...document.querySelectorAll(selector)].find((one) => one.offsetWidth);

  // Ctrl+Enter or Cmd+Enter anywhere makes what the open tab asks for.
  document.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || !(event.ctrlKey || event.metaKey)) return;
    event.preventDefault();
    const button = visible("button.t2v-run, .t2v-run button");
    document.activeElement?.dispatchEvent(new Event("change", { bubbles: true }));
    setTimeout(() => button?.click(), 50);
  });

  // A clip that is dropped where nothing else takes it goes to the hidden upload; else the browser would leave the page.
  const taken = (event) => event.target.closest?.("[data-testid='file-upload'], .upload-container, input[type=file]");
  const files = (event) => [...(event.dataTransfer?.items ?? [])].some((item) => item.kind === "file");
  document.addEventListener("dragover", (event) => {
    if (files(event) && !taken(event)) event.preventDefault();
  });
  document.addEventListener("drop", (event) => {
    if (!files(event) || taken(event)) return;
    event.preventDefault();
    const input = document.getElementById("t2v-drop")?.parentElement?.querySelector("input[type=file]");
    if (!input) return;
    const one = new DataTransfer();
    one.items.add(event.dataTransfer.files[0]);
    input.files = one.files;
    input.dispatchEvent(new Event("change", { bubbles: true }));
  });

  // The title says how far the job is; somebody who looks elsewhere is told when it is done, if they have allowed it.
  let running = false;
  setInterval(() => {
    const bar = visible(".t2v-status.running .t2v-bar div");
    document.title = bar ? `${Math.round(parseFloat(bar.style.width))} % · ${title}` : title;
    if (running && visible(".t2v-status.done") && document.hidden && window.Notification?.permission === "granted") {
      new Notification(title, { body: visible(".t2v-status.done").innerText.split("\n")[0] });
    }
    running = Boolean(visible(".t2v-status.running"));
  }, 1000);

  // The theme, kept in this browser.
  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  window.t2vTheme = (choice) => {
    try { localStorage.setItem("t2v-theme", choice); } catch (error) {}
    document.body.classList.toggle("dark", choice === "Dark" || (choice === "System" && dark.matches));
  };
  let chosen = null;
  try { chosen = localStorage.getItem("t2v-theme"); } catch (error) {}
  if (chosen) window.t2vTheme(chosen);
  dark.addEventListener("change", () => window.t2vTheme(localStorage.getItem("t2v-theme") ?? "System"));
  const field = document.querySelector("#t2v-theme select");
  if (field) field.value = chosen ?? "System";
  // Heard here and not at the elements, which are made anew when the header has something else to say.
  document.addEventListener("change", (event) => {
    if (event.target.matches?.("#t2v-theme select")) window.t2vTheme(event.target.value);
  });
  document.addEventListener("click", async (event) => {
    if (event.target.id !== "t2v-notify") return;
    const answer = (await window.Notification?.requestPermission?.()) ?? "denied";
    event.target.textContent = answer === "granted" ? "You will be notified" : "Notifications are blocked";
  });
}
