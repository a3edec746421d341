"""Training of the drawn worlds' networks, and of video models from clips; nothing else imports it."""

from utils import quiet_imports

quiet_imports()
