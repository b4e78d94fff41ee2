"""The engine from the command line: the same path as in the browser, for scripts and CI.

    python -m compression samples [KEY --out DIR]
    python -m compression inspect MODEL [--data DATA]
    python -m compression methods
    python -m compression runtimes | tasks
    python -m compression train --data DATA --architecture deepfm --out DIR
    python -m compression run --model MODEL --data DATA --recipe RECIPE.yaml --out DIR [--device cuda]
    python -m compression bundle BUNDLE.zip [--data DATA] [--device cpu]

DATA is a folder with data.yaml, or a description of any name. MODEL is a folder that `train` made, a
.safetensors file with its config.json beside it, a .onnx file, or a bundle. Every command takes --json.
Exit status 0, or one line on standard error and 2.
"""

from __future__ import annotations

import sys

from compression.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
