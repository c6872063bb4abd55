# The two commands of the README in a container. For GPUs: --gpus all, and a base image is not needed, since torch brings CUDA.
#   docker build -t compression-search .
#   docker run --rm -v "$PWD/runs:/app/runs" compression-search make search
FROM python:3.11-slim
RUN apt-get update -qq && apt-get install -y -qq --no-install-recommends make libsndfile1 && rm -rf /var/lib/apt/lists/*
WORKDIR /app
COPY . .
RUN make install
CMD ["make", "search"]
