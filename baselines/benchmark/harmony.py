"""Batch correction of features by Harmony (Korsunsky 2019, doi 10.1038/s41592-019-0619-0)."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

__all__ = ["corrected"]

COMPONENTS = 50


def corrected(features: NDArray[np.float32], obs: pd.DataFrame, seed: int) -> NDArray[np.float32]:
    """Correct features for study and batch.

    The correction is transductive: it sees every cell of the task, without labels.

    Parameters
    ----------
    features
        (cells, d); more than 50 columns are first reduced to 50 principal components.
    obs
        Has `study_id` and `batch`.
    seed
        Of Harmony's clusters.

    Returns
    -------
    numpy.ndarray
        (cells, min(d, 50)) float32; the features themselves where there is one batch only.
    """
    import harmonypy
    from sklearn.decomposition import PCA

    batch = obs["study_id"].astype(str) + "\0" + obs["batch"].astype(str)
    if batch.nunique() < 2:
        return features
    if features.shape[1] > COMPONENTS:
        components = min(COMPONENTS, *features.shape)
        features = PCA(components, random_state=seed).fit_transform(features)
    table = pd.DataFrame({"batch": batch.to_numpy()})
    found = harmonypy.run_harmony(
        features.astype(np.float64), table, ["batch"], random_state=seed, verbose=False
    )
    return np.asarray(found.Z_corr, np.float32)
