"""What a file is that no format reads: trees, pictures, models of other tools. By its first bytes, in a sentence.

    what_it_is(path)      # "is a LightGBM model, which is made of decision trees. …", or "" for what isn't known
"""

from __future__ import annotations

import re
from pathlib import Path

_LOOKED_AT = 65_536
_TREES = ("Trees have no tables and dense layers that could be compressed: train a model on the same data, and compare "
          "its quality with theirs.")
_WRONG_FILE = "It was saved or downloaded in place of the model; upload the model's own file."
_CONVERT = "Convert it to ONNX where its library is installed, and upload that: "

# what the first bytes are, in order → what the file is, and what helps
_BEGINNINGS: tuple[tuple[str, str], ...] = (
    (rb"\x89PNG\r\n\x1a\n", f"is a PNG picture. {_WRONG_FILE}"),
    (rb"\xff\xd8\xff", f"is a JPEG picture. {_WRONG_FILE}"),
    (rb"GIF8[79]a", f"is a GIF picture. {_WRONG_FILE}"),
    (rb"RIFF.{4}WEBP", f"is a WebP picture. {_WRONG_FILE}"),
    (rb"%PDF-", f"is a PDF document. {_WRONG_FILE}"),
    (rb"\s*<(!doctype html|html)", "is a web page, such as the sign-in or error page of a site. Download the model "
                                   "itself, and upload that."),
    (rb"version https://git-lfs", "is a pointer of Git LFS and not the file it stands for. Fetch the file (git lfs "
                                  "pull), and upload that."),
    (rb"tree\nversion=v\d", f"is a LightGBM model, which is made of decision trees. {_TREES}"),
    (rb"CBM1", f"is a CatBoost model, which is made of decision trees. {_TREES}"),
    (rb"binf|bs64", f"is an XGBoost model, which is made of decision trees. {_TREES}"),
    (rb"\{L.{8}(learner|version)", f"is an XGBoost model, which is made of decision trees. {_TREES}"),
    (rb"## (LambdaMART|MART|Random Forests|RankBoost|AdaRank)|<ensemble>",
     f"is a RankLib model, which is made of decision trees or stumps. {_TREES}"),
    (rb"## (Coordinate Ascent|Linear Regression)", "is a linear RankLib model, with nothing that could be compressed. "
                                                   "Train logistic regression on the same data instead."),
    (rb"## (RankNet|ListNet|LambdaRank)", "is a RankLib network, which is written as text and not read. Train a model "
                                          "on the same data instead."),
    (rb".{4}TFL3", f"is a TensorFlow Lite model. {_CONVERT}python -m tf2onnx.convert --tflite FILE --output "
                   "model.onnx."),
    (rb"GGUF", "is a GGUF file, as language models for llama.cpp are kept. Upload the safetensors it was made from."),
)
_IN_JSON: tuple[tuple[str, str], ...] = (  # what the text holds
    (rb'"learner"\s*:.*"gradient_booster"', f"is an XGBoost model, which is made of decision trees. {_TREES}"),
    (rb'"oblivious_trees"|"features_info"\s*:\s*\{\s*"(float|categorical)_features"',
     f"is a CatBoost model, which is made of decision trees. {_TREES}"),
    (rb'"name"\s*:\s*"tree"\s*,\s*"version"\s*:\s*"v\d', f"is a LightGBM model, which is made of decision trees. "
                                                         f"{_TREES}"),
)
ENDINGS = (".cbm", ".ubj", ".lgb", ".lightgbm", ".xgb", ".xml", ".pb", ".tflite", ".gguf", ".png", ".jpg", ".jpeg",
           ".gif", ".webp", ".pdf", ".html")  # that such files have, and no model that is read
SAVED_MODEL = "saved_model.pb"


def what_it_is(path: Path) -> str:
    """What the bytes say, after the file's name; "" where they are of no kind that is known here. Nothing is run."""
    with path.open("rb") as file:
        head = file.read(_LOOKED_AT)
    for pattern, sentence in _BEGINNINGS:
        if re.match(pattern, head, re.DOTALL | re.IGNORECASE):
            return sentence
    if head.lstrip()[:1] == b"{":
        return next((sentence for pattern, sentence in _IN_JSON if re.search(pattern, head, re.DOTALL)), "")
    return ""


def is_text(path: Path) -> bool:
    """Whether the first bytes are letters, digits and signs alone."""
    with path.open("rb") as file:
        head = file.read(4096)
    try:
        text = head.decode("utf-8", "strict")
    except UnicodeDecodeError as error:
        if error.start < len(head) - 4:  # cut inside a letter at the end
            return False
        text = head[:error.start].decode("utf-8")
    return all(letter.isprintable() or letter in "\r\n\t\ufeff" for letter in text)


def of_saved_model(name: str) -> str:
    """What helps with a folder of TensorFlow, which holds its graph as a program of its own."""
    return (f"{name} holds a SavedModel of TensorFlow, whose graph is not read. {_CONVERT}python -m tf2onnx.convert "
            "--saved-model FOLDER --output model.onnx. A model of Keras can also be saved as model.keras.")
