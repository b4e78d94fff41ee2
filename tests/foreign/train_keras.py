"""Train small Keras 3 models (on torch) and leave .keras and .weights.h5 files with scores beside them.

    KERAS_BACKEND=torch python train_keras.py FOLDER
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

os.environ.setdefault("KERAS_BACKEND", "torch")

import keras
import numpy as np
from keras import layers

USERS, ITEMS, TAGS = 30, 20, 7


def column(name: str, *, dtype: str = "int32", length: int = 1) -> keras.KerasTensor:
    return keras.Input((length,), dtype=dtype, name=name)


def mlp() -> keras.Model:
    """Embeddings and numbers through a network with batch normalisation."""
    user, item, tags, age = column("user"), column("item"), column("tags", length=3), column("age", dtype="float32")
    x = layers.Concatenate()([
        layers.Flatten()(layers.Embedding(USERS, 4, name="user_table")(user)),
        layers.Flatten()(layers.Embedding(ITEMS, 5, name="item_table")(item)),
        layers.GlobalAveragePooling1D()(layers.Embedding(TAGS, 3, name="tag_table")(tags)), age])
    x = layers.Dense(8, use_bias=False)(x)
    x = layers.Activation("tanh")(layers.BatchNormalization()(x))
    x = layers.Dropout(0.2)(x)
    x = layers.Dense(6, activation="relu")(x)
    return keras.Model([user, item, tags, age], layers.Dense(1, activation="sigmoid", name="score")(x))


def factors() -> keras.Model:
    """The dot product of two vectors with biases."""
    user, item = column("user"), column("item")
    left, right = (layers.Flatten()(layers.Embedding(rows, 4, name=name)(one)) for one, rows, name in (
        (user, USERS, "users"), (item, ITEMS, "items")))
    biases = [layers.Flatten()(layers.Embedding(rows, 1)(one)) for one, rows in ((user, USERS), (item, ITEMS))]
    total = layers.Add()([layers.Dot(1)([left, right]), *biases])
    return keras.Model([user, item], layers.Activation("sigmoid")(total))


def neumf() -> keras.Model:
    """A product beside a network, and a shared table."""
    user, item, other = column("user"), column("item"), column("other")
    shared = layers.Embedding(ITEMS, 4, name="shared")
    u = layers.Reshape((4,))(layers.Embedding(USERS, 4)(user))
    i, o = layers.Flatten()(shared(item)), layers.Flatten()(shared(other))
    product = layers.Multiply()([u, i])
    deep = layers.LeakyReLU(negative_slope=0.1)(layers.Dense(6)(layers.Concatenate()([u, o])))
    deep = layers.LayerNormalization()(layers.Dense(4, activation="gelu")(deep))
    both = layers.Concatenate(axis=-1)([product, layers.Subtract()([deep, o])])
    return keras.Model({"user": user, "item": item, "other": other}, layers.Dense(1)(both))


def sequential() -> keras.Model:
    return keras.Sequential([column("ids", length=3), layers.Embedding(ITEMS, 4), layers.Flatten(),
                             layers.Dense(6, activation="elu"), layers.Dense(1, activation="sigmoid")])


def with_lambda() -> keras.Model:
    age = column("age", dtype="float32")
    return keras.Model(age, layers.Dense(1)(layers.Lambda(lambda x: x * 2)(age)))


MODELS = {"mlp": mlp, "factors": factors, "neumf": neumf, "sequential": sequential, "lambda": with_lambda}


def rows(model: keras.Model, n: int = 128) -> dict[str, np.ndarray]:
    draw = np.random.default_rng(0)
    limits = {"user": USERS, "item": ITEMS, "other": ITEMS, "tags": TAGS, "ids": ITEMS}
    return {one.name: draw.normal(size=(n, one.shape[1])).astype("float32") if one.name == "age" else
            draw.integers(0, limits[one.name], (n, one.shape[1])).astype("int32") for one in model.inputs}


def main() -> None:
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for name, make in MODELS.items():
        keras.utils.set_random_seed(4)
        model = make()
        read = rows(model)
        given = read if len(read) > 1 else next(iter(read.values()))
        given = given if name in ("neumf",) or len(read) == 1 else list(read.values())
        model.compile("adam", "mse")
        model.fit(given, np.random.default_rng(1).integers(0, 2, (128, 1)).astype("float32"), epochs=2, verbose=0)
        model.save(folder / f"{name}.keras")
        model.save(folder / f"{name}.h5")
        model.save_weights(folder / f"{name}.weights.h5")
        (folder / f"{name}.json").write_text(model.to_json())
        np.savez(folder / f"{name}.npz", scores=np.asarray(model.predict(given, verbose=0)).reshape(-1), **read)


if __name__ == "__main__":
    main()
