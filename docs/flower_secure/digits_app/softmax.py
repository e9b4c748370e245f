"""Softmax regression on scikit-learn's digits: 8 x 8 pixels, ten classes, one part of the images for each client."""

import numpy as np
from sklearn.datasets import load_digits

PIXELS, CLASSES, BATCH = 64, 10, 32


def load(partition: int, partitions: int) -> tuple[np.ndarray, np.ndarray]:
    """One client's images (n, 64) and labels (n,); the later a client, the more it has."""
    images, labels = load_digits(return_X_y=True)
    ends = np.cumsum(np.arange(partitions + 1)) * (len(labels) // sum(range(partitions + 1)))
    part = slice(ends[partition], ends[partition + 1])
    return (images[part] / 16).astype(np.float32), labels[part]


def initial() -> list[np.ndarray]:
    """Weights (64, 10) and biases (10,)."""
    return [np.zeros((PIXELS, CLASSES), np.float32), np.zeros(CLASSES, np.float32)]


def probabilities(parameters: list[np.ndarray], images: np.ndarray) -> np.ndarray:
    """Those of each class, (n, 10)."""
    weight, bias = parameters
    scores = images @ weight + bias
    powers = np.exp(scores - scores.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def train(parameters: list[np.ndarray], images: np.ndarray, labels: np.ndarray, *, epochs: int, rate: float) -> None:
    """Gradient descent on batches, in place."""
    weight, bias = parameters
    for _ in range(epochs):
        for start in range(0, len(labels), BATCH):
            batch, wanted = images[start : start + BATCH], labels[start : start + BATCH]
            slope = probabilities(parameters, batch)
            slope[np.arange(len(wanted)), wanted] -= 1
            weight -= rate * (batch.T @ slope) / len(wanted)
            bias -= rate * slope.mean(axis=0)


def loss_and_accuracy(parameters: list[np.ndarray], images: np.ndarray, labels: np.ndarray) -> tuple[float, float]:
    """The mean over these images."""
    chances = probabilities(parameters, images)
    loss = -np.log(chances[np.arange(len(labels)), labels] + 1e-9).mean()
    return float(loss), float((chances.argmax(axis=1) == labels).mean())
