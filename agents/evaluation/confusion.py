"""The confusion matrix of an evaluation as an image."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from lm_gym.tasks import Evaluation

_MOST = 30  # labels; with more, the numbers would be illegible
_CELL, _GAP, _LETTER = 46, 8, 13  # pixels
_FULL = np.array([0, 114, 178])  # the blue of Okabe and Ito


def confusion_matrix(evaluation: Evaluation) -> NDArray[np.int64] | None:
    """Count the positions by gold and predicted choice, int64 [n, n]; None for a task without a list of labels."""
    names = evaluation.task.choice_names
    if names is None:
        return None
    count = len(names)
    pairs = evaluation.targets.astype(np.int64) * count + evaluation.choices
    return np.bincount(pairs, minlength=count * count).reshape(count, count)


def confusion_image(evaluation: Evaluation) -> NDArray[np.uint8] | None:
    """Draw the matrix, uint8 [H, W, 3], gold from top to bottom and predictions from left to right.

    The colour of a cell is its share of its row. The task must have between 2 and 30 labels; otherwise None.
    """
    matrix = confusion_matrix(evaluation)
    if matrix is None or not 2 <= len(matrix) <= _MOST:
        return None
    names = [evaluation.task.choice_name(choice) for choice in range(len(matrix))]
    font = ImageFont.load_default(_LETTER)
    room = int(max(font.getlength(name) for name in [*names, "predicted"])) + 2 * _GAP
    size = room + _CELL * len(matrix) + _GAP
    image = Image.new("RGB", (size, size), "white")
    draw = ImageDraw.Draw(image)
    draw.text((room - _GAP, _GAP), "predicted", "#666666", font, anchor="rt")
    draw.text((_GAP, room - _GAP), "gold", "#666666", font, anchor="lb")
    shares = matrix / np.maximum(matrix.sum(1, keepdims=True), 1)
    for row, name in enumerate(names):
        middle = room + _CELL * row + _CELL // 2
        draw.text((room - _GAP, middle), name, "black", font, anchor="rm")
        label = Image.new("RGB", (room, _CELL), "white")
        ImageDraw.Draw(label).text((_GAP, _CELL // 2), name, "black", font, anchor="lm")
        image.paste(label.rotate(90, expand=True), (middle - _CELL // 2, 0))
        for column, (share, count) in enumerate(zip(shares[row], matrix[row].tolist(), strict=True)):
            left, top = room + _CELL * column, middle - _CELL // 2
            colour = tuple((255 - share * (255 - _FULL)).astype(int).tolist())
            draw.rectangle((left, top, left + _CELL - 2, top + _CELL - 2), colour, "#cccccc")
            if count:
                ink = "white" if share > 0.5 else "black"
                shown = f"{count:,}" if count < 10_000 else f"{count / 1000:.0f}k"
                draw.text((left + _CELL // 2 - 1, top + _CELL // 2 - 1), shown, ink, font, anchor="mm")
    return np.asarray(image)
