"""Comparators: what class sizes, confounding and plain expression score on the same folds."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from cellresponse.baselines.benchmark.cells import TaskCells
from cellresponse.schema.errors import ReleaseError

__all__ = ["COMPARATORS", "NEEDS_EXPRESSION", "Comparator", "NotTrainable"]

CALIBRATION_FOLDS = 3


class NotTrainable(ReleaseError):
    """The training cells of a fold are too few for this model; others may do."""


class Comparator(Protocol):
    """Fits on training cells and predicts test cells.

    A bulk-to-single-cell method fits the same signature: it brings its bulk data
    itself and takes both sides from here.
    """

    def __call__(self, train: TaskCells, test: TaskCells, *, seed: int) -> NDArray[np.float64]:
        """Give (test cells,) probabilities of sensitive."""
        ...


def majority(train: TaskCells, test: TaskCells, *, seed: int) -> NDArray[np.float64]:
    """Predict the share of sensitive training cells for everyone."""
    del seed
    return np.full(len(test), train.sensitive.mean())


def batch_only(train: TaskCells, test: TaskCells, *, seed: int) -> NDArray[np.float64]:
    """Know only the study and batch of a cell."""
    del seed
    return _shares(train, test, ["study_id", "batch"])


def line_only(train: TaskCells, test: TaskCells, *, seed: int) -> NDArray[np.float64]:
    """Know only the cell line of a cell."""
    del seed
    return _shares(train, test, ["cell_line"])


def depth_only(train: TaskCells, test: TaskCells, *, seed: int) -> NDArray[np.float64]:
    """Know only the total counts of a cell."""
    return _fit(_logistic(seed), _depth(train), train.sensitive, _depth(test))


def _depth(cells: TaskCells) -> NDArray[np.float32]:
    return np.log10(cells.obs["n_counts"].to_numpy(np.float32) + 1)[:, None]


def _shares(train: TaskCells, test: TaskCells, columns: list[str]) -> NDArray[np.float64]:
    """Predict the share of sensitive cells in the training cells with the same values.

    Values never seen in training get the share over all training cells.
    """
    seen: dict[str, list[bool]] = {}
    for key, label in zip(_keys(train, columns), train.sensitive, strict=True):
        seen.setdefault(key, []).append(bool(label))
    shares = {key: float(np.mean(labels)) for key, labels in seen.items()}
    anyone = float(train.sensitive.mean())
    return np.array([shares.get(key, anyone) for key in _keys(test, columns)])


def _keys(cells: TaskCells, columns: list[str]) -> list[str]:
    return ["\0".join(map(str, row)) for row in cells.obs[columns].itertuples(index=False)]


def _logistic(seed: int) -> Any:
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    return make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000, random_state=seed))


def _forest(seed: int) -> Any:
    from sklearn.ensemble import RandomForestClassifier

    return RandomForestClassifier(n_estimators=100, random_state=seed)


def svc(train: TaskCells, test: TaskCells, *, seed: int) -> NDArray[np.float64]:
    """Support vectors (RBF) on expression, calibrated by 3 folds.

    Raises
    ------
    NotTrainable
        Fewer training cells of a response than folds.
    """
    from sklearn.calibration import CalibratedClassifierCV
    from sklearn.svm import SVC

    del seed  # without built-in probabilities nothing in it is random
    sensitive = int(train.sensitive.sum())
    for response, cells in (("sensitive", sensitive), ("resistant", len(train) - sensitive)):
        if cells < CALIBRATION_FOLDS:
            raise NotTrainable(
                f"svc cannot be calibrated: a fold has too few {response} cells to train on",
                value=cells,
                allowed=f"{CALIBRATION_FOLDS} or more",
                hint="Name other models with --models, or choose other splits with --split",
            )
    # Components keep their scale: distances would drown in the 49 that hold noise.
    model = CalibratedClassifierCV(SVC(), ensemble=False, cv=CALIBRATION_FOLDS)
    return _fit(model, train.features["expression"], train.sensitive, test.features["expression"])


def _mlp(seed: int) -> Any:
    from sklearn.neural_network import MLPClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    return make_pipeline(
        StandardScaler(), MLPClassifier((128,), max_iter=100, random_state=seed, tol=1e-3)
    )


def _naive_bayes(seed: int) -> Any:
    from sklearn.naive_bayes import GaussianNB

    del seed
    return GaussianNB()


def _on_expression(make: Callable[[int], Any], doc: str) -> Comparator:
    def comparator(train: TaskCells, test: TaskCells, *, seed: int) -> NDArray[np.float64]:
        return _fit(
            make(seed), train.features["expression"], train.sensitive, test.features["expression"]
        )

    comparator.__doc__ = doc
    return comparator


def _fit(
    model: Any,
    train: NDArray[np.floating],
    sensitive: NDArray[np.bool_],
    test: NDArray[np.floating],
) -> NDArray[np.float64]:
    with warnings.catch_warnings():
        # A small network may stop at its last epoch; the number of epochs is the definition.
        warnings.filterwarnings("ignore", message="Stochastic Optimizer")
        model.fit(train, sensitive)
    probability = model.predict_proba(test)
    return np.asarray(probability[:, list(model.classes_).index(True)], np.float64)


COMPARATORS: dict[str, Comparator] = {
    "majority": majority,
    "batch_only": batch_only,
    "depth_only": depth_only,
    "line_only": line_only,
    "logistic_regression": _on_expression(_logistic, "Logistic regression on expression."),
    "random_forest": _on_expression(_forest, "100 trees on expression."),
    "svc": svc,
    "mlp": _on_expression(_mlp, "One hidden layer of 128 on expression."),
    "naive_bayes": _on_expression(_naive_bayes, "Gaussian naive Bayes on expression."),
}
"""Comparators by name; those on expression read `features["expression"]`."""

NEEDS_EXPRESSION = frozenset(list(COMPARATORS)[4:])
"""Comparators that read expression features."""
