"""Every figure of a model on a split, with its interval, from probabilities and labels alone (numpy).

Definitions are scikit-learn's, with which the tests compare; macro averages are over the classes that the
split holds.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import stats

from components.evaluator.statistics import normal_interval, wilson
from components.evaluator.verdict import Bin, ClassFigures, Coverage, Metric

#: Bins of the reliability curve: fifteen of equal width, as in the literature.
BINS = 15
_COVERAGE = (0.0, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99)
_TINY = 1e-7  # Keras' epsilon: a probability of 0 must not make the mean loss infinite


@dataclass(frozen=True)
class Sums:
    """What the figures rest on: sums over images, so that parts of a split can be added up.

    Attributes:
      classes: how many there are, c.
      cells: int64 (m,), `label * c + predicted` of the pairs that occur, ascending; with a thousand classes
        nearly all of the confusion matrix is empty.
      images: int64 (m,), images of each such pair.
      top: images whose label is among the likeliest `top_k`.
      losses: sum of the cross-entropy (natural logarithm) and of its square.
      bins: float64 (BINS, 3), a row a bin of confidence: images, sum of confidence, images that are right.
    """

    classes: int
    cells: np.ndarray
    images: np.ndarray
    top: int
    losses: np.ndarray
    bins: np.ndarray

    @classmethod
    def of(cls, probabilities: np.ndarray, labels: np.ndarray, top_k: int) -> Sums:
        """Sums over images.

        Args:
          probabilities: float (n, c).
          labels: int (n,).
          top_k: how many of the likeliest classes count for `top`.
        """
        count, classes = probabilities.shape
        predicted = probabilities.argmax(axis=1)
        own = probabilities[np.arange(count), labels]
        losses = -np.log(np.clip(own.astype(np.float64), _TINY, 1))
        confidence = probabilities.max(axis=1).astype(np.float64)
        index = np.minimum((confidence * BINS).astype(int), BINS - 1)
        cells, images = np.unique(labels * classes + predicted, return_counts=True)
        return cls(
            classes=classes,
            cells=cells,
            images=images,
            top=int(((probabilities > own[:, None]).sum(axis=1) < top_k).sum()),
            losses=np.array([losses.sum(), np.square(losses).sum()]),
            bins=np.stack(
                [np.bincount(index, weight, BINS) for weight in (None, confidence, predicted == labels)],
                axis=1,
            ),
        )

    def __add__(self, other: Sums) -> Sums:
        cells, index = np.unique(np.concatenate([self.cells, other.cells]), return_inverse=True)
        images = np.zeros(len(cells), np.int64)
        np.add.at(images, index, np.concatenate([self.images, other.images]))
        return Sums(
            self.classes,
            cells,
            images,
            self.top + other.top,
            self.losses + other.losses,
            self.bins + other.bins,
        )

    @property
    def count(self) -> int:
        return int(self.images.sum())

    @property
    def labelled(self) -> np.ndarray:
        """Images by class, int64 (c,)."""
        return self._by_class(self.cells // self.classes, self.images)

    @property
    def predicted(self) -> np.ndarray:
        """Images by predicted class, int64 (c,)."""
        return self._by_class(self.cells % self.classes, self.images)

    @property
    def hits(self) -> np.ndarray:
        """Images that were recognised, by class, int64 (c,)."""
        right = self.cells // self.classes == self.cells % self.classes
        return self._by_class(self.cells[right] // self.classes, self.images[right])

    def _by_class(self, index: np.ndarray, images: np.ndarray) -> np.ndarray:
        return np.bincount(index, images, self.classes).astype(np.int64)


def metrics(sums: Sums, top_k: int) -> dict[str, Metric]:
    """Accuracy, top-k accuracy (given more than k classes), loss, macro averages, calibration error."""
    found = {"accuracy": share(int(sums.hits.sum()), sums.count)}
    if sums.classes > top_k:
        found[f"top_{top_k}_accuracy"] = share(sums.top, sums.count)
    found["loss"] = _loss(sums)
    found["macro_precision"] = _macro(sums, sums.predicted)
    found["macro_recall"] = _macro(sums, sums.labelled)
    found["macro_f1"] = _macro_f1(sums)
    found["ece"] = Metric(value=calibration_error(sums))
    return found


def metric_names(classes: int, top_k: int) -> list[str]:
    """Names that `metrics` gives for so many classes."""
    return list(metrics(Sums.of(np.eye(classes), np.arange(classes), top_k), top_k))


def share(successes: int, count: int) -> Metric:
    """A share of images with Wilson's interval."""
    low, high = wilson(successes, count)
    return Metric(value=successes / count if count else None, low=low, high=high)


def _loss(sums: Sums) -> Metric:
    total, squares = sums.losses
    mean = total / sums.count
    variance = max(squares / sums.count - mean**2, 0) / max(sums.count - 1, 1)
    low, high = normal_interval(mean, variance)
    return Metric(value=mean, low=max(low, 0.0), high=high)


def _macro(sums: Sums, of: np.ndarray, scale=lambda shares: shares) -> Metric:
    """Mean over the classes that occur of a scaled share.

    The interval puts the classes' Wilson intervals together, after Zou and Donner (Statistics in Medicine 27,
    2008), and so is no point when every image is right.
    """
    present = sums.labelled > 0
    hits, of = sums.hits[present], of[present]
    values = scale(np.where(of > 0, hits / np.maximum(of, 1), 0.0))
    bounds = [wilson(hit, total) for hit, total in zip(hits.tolist(), of.tolist(), strict=True)]
    lows, highs = scale(np.array(bounds).T)
    mean = float(values.mean())
    below = np.sqrt(np.square(values - lows).sum()) / len(values)
    above = np.sqrt(np.square(highs - values).sum()) / len(values)
    return Metric(value=mean, low=max(mean - below, 0.0), high=min(mean + above, 1.0))


def _macro_f1(sums: Sums) -> Metric:
    """Mean of the classes' F1; one wrong image weighs on two classes, which the delta method accounts for."""
    union = sums.labelled + sums.predicted - sums.hits
    # F1 is the share of hits in the union, on another scale.
    found = _macro(sums, union, lambda jaccard: 2 * jaccard / (1 + jaccard))
    present = sums.labelled > 0
    size = np.where(present, sums.labelled + sums.predicted, np.inf)
    pull = 2 * sums.hits / size / size
    label, predicted = sums.cells // sums.classes, sums.cells % sums.classes
    push = np.where(label == predicted, 2 / size[label], 0)
    influence = (push - pull[label] - pull[predicted]) / present.sum()
    low, high = normal_interval(found.value, float((sums.images * influence**2).sum()))
    # The wider of the two: the one is a point when every image is right, the other knows no such pairs.
    return Metric(value=found.value, low=max(min(found.low, low), 0.0), high=min(max(found.high, high), 1.0))


def area_under_curve(probabilities: np.ndarray, labels: np.ndarray) -> Metric:
    """Area under the ROC curve, each class against the rest, averaged over the classes.

    The interval rests on the placements of DeLong, DeLong and Clarke-Pearson (Biometrics 44, 1988), summed
    over the classes before they are squared, since one image counts in every class.
    """
    areas, influences = [], np.zeros(len(labels))
    for index in range(probabilities.shape[1]):
        own = labels == index
        positives, negatives = int(own.sum()), int((~own).sum())
        if not positives or not negatives:
            continue
        scores = probabilities[:, index]
        ranks = stats.rankdata(scores)
        placements = np.empty(len(labels))
        placements[own] = (ranks[own] - stats.rankdata(scores[own])) / negatives
        placements[~own] = 1 - (ranks[~own] - stats.rankdata(scores[~own])) / positives
        area = placements[own].mean()
        areas.append(area)
        influences += np.where(own, (placements - area) / positives, (placements - area) / negatives)
    if not areas:
        return Metric(value=None)
    mean = float(np.mean(areas))
    low, high = normal_interval(mean, float(np.square(influences / len(areas)).sum()))
    return Metric(value=mean, low=max(low, 0.0), high=min(high, 1.0))


def calibration_error(sums: Sums) -> float:
    """Expected calibration error: mean distance of confidence and accuracy over the bins, by their images.

    Naeini, Cooper and Hauskrecht, Obtaining Well Calibrated Probabilities Using Bayesian Binning, AAAI 2015.
    """
    return float(np.abs(sums.bins[:, 1] - sums.bins[:, 2]).sum() / sums.count)


def reliability(sums: Sums) -> list[Bin]:
    """The reliability curve."""
    bins = []
    for number, (count, confidence, right) in enumerate(sums.bins.tolist()):
        bins.append(
            Bin(
                low=number / BINS,
                high=(number + 1) / BINS,
                count=int(count),
                confidence=confidence / count if count else None,
                accuracy=right / count if count else None,
            )
        )
    return bins


def per_class(sums: Sums, names: list[str], baseline: Sums | None) -> list[ClassFigures]:
    """Figures of every class; those that do not exist are None."""
    rows = []
    for index, name in enumerate(names):
        hits, labelled, predicted = (int(one[index]) for one in (sums.hits, sums.labelled, sums.predicted))
        recall = share(hits, labelled)
        rows.append(
            ClassFigures(
                class_name=name,
                count=labelled,
                precision=hits / predicted if predicted else None,
                recall=recall.value,
                f1=2 * hits / (labelled + predicted) if labelled + predicted else None,
                recall_low=recall.low if labelled else None,
                recall_high=recall.high if labelled else None,
                baseline_recall=int(baseline.hits[index]) / labelled if baseline and labelled else None,
            )
        )
    return rows


def coverage(probabilities: np.ndarray, labels: np.ndarray) -> list[Coverage]:
    """Accuracy on what is answered when the model abstains below a confidence."""
    confidence = probabilities.max(axis=1)
    right = probabilities.argmax(axis=1) == labels
    rows = []
    for limit in _COVERAGE:
        answered = confidence >= limit
        accuracy = float(right[answered].mean()) if answered.any() else None
        rows.append(Coverage(confidence=limit, coverage=float(answered.mean()), accuracy=accuracy))
    return rows
