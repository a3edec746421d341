# The page of all tabs, for a processor or, with --build-arg TORCH_INDEX=https://download.pytorch.org/whl/cu128, for CUDA.
#   docker build -t text2video-zero-studio .
#   docker run -p 127.0.0.1:7860:7860 -v t2v-data:/data --memory 8g --pids-limit 256 text2video-zero-studio
FROM python:3.12-slim

ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu

RUN useradd --create-home --uid 1000 studio && mkdir /data && chown studio /data
WORKDIR /studio
COPY requirements.txt .
RUN pip install --no-cache-dir "$(grep -o '^torch==[0-9.]*' requirements.txt)" --index-url "$TORCH_INDEX" \
    && pip install --no-cache-dir -r requirements.txt
COPY . .

USER studio
# What is kept lies in the volume: clips, what comes from the Hub, temporary files.
ENV XDG_DATA_HOME=/data HF_HOME=/data/huggingface GRADIO_TEMP_DIR=/data/temporary \
    GRADIO_SERVER_NAME=0.0.0.0 GRADIO_SERVER_PORT=7860 PYTHONUNBUFFERED=1
VOLUME /data
EXPOSE 7860
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s \
    CMD ["python", "-c", "import os, urllib.request as u; u.urlopen(f'http://127.0.0.1:{os.environ[\"GRADIO_SERVER_PORT\"]}/', timeout=4)"]
# Options of app.py come from T2V_OPTIONS, such as "--auth me:secret --proxy", or follow the image's name.
ENTRYPOINT ["python", "app.py"]
