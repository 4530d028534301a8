"""Tests, intervals and figures against scipy, statsmodels, scikit-learn, and against simulated models."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import optimize, stats
from sklearn import metrics as reference

from components.evaluator import figures, policy, statistics
from components.evaluator.figures import Sums
from components.evaluator.policy import Paired
from components.evaluator.settings import EvaluateSettings


@pytest.mark.parametrize(
    ("lost", "won", "two_sided"),
    # statsmodels 0.14: mcnemar([[100, lost], [won, 30]], exact=True).pvalue
    [(12, 5, 0.143463134765625), (9, 0, 0.00390625), (40, 25, 0.08168153394154003)],
)
def test_exact_mcnemar_is_statsmodels_in_one_direction(lost: int, won: int, two_sided: float) -> None:
    assert statistics.worse_p_value(lost, won, 500) == pytest.approx(two_sided / 2, rel=1e-12)


@pytest.mark.parametrize(
    ("successes", "count", "interval"),
    # statsmodels 0.14: proportion_confint(successes, count, method="wilson")
    [
        (17, 18, (0.7424269921812741, 0.990124809021697)),
        (0, 10, (0.0, 0.27753279986288926)),
        (905, 1000, (0.8852455602057479, 0.9216547654209526)),
    ],
)
def test_wilson_is_statsmodels(successes: int, count: int, interval: tuple[float, float]) -> None:
    assert statistics.wilson(successes, count) == pytest.approx(interval, abs=1e-9)


def test_holm_is_statsmodels() -> None:
    # statsmodels 0.14: multipletests(..., method="holm")
    adjusted = statistics.holm([0.01, 0.04, 0.03, 0.005, 0.5])
    assert adjusted == pytest.approx([0.04, 0.09, 0.09, 0.025, 0.5])


@pytest.mark.parametrize(("lost", "won", "count", "margin"), [(60, 20, 1000, 0.02), (9, 0, 50, 0.05)])
def test_a_margin_uses_the_score_test(lost: int, won: int, count: int, margin: float) -> None:
    """Against the likelihood maximised numerically under a difference of exactly the margin."""

    def surprise(share: float) -> float:
        agree = 1 - 2 * share - margin
        return -(
            stats.multinomial.logpmf([lost, won, count - lost - won], count, [share + margin, share, agree])
        )

    share = optimize.minimize_scalar(
        surprise, bounds=(1e-9, (1 - margin) / 2 - 1e-9), method="bounded", options={"xatol": 1e-12}
    ).x
    deviation = np.sqrt(count * (2 * share + margin - margin**2))
    expected = stats.norm.sf((lost - won - count * margin) / deviation)
    assert statistics.worse_p_value(lost, won, count, margin) == pytest.approx(expected, rel=1e-3)


def test_the_score_test_keeps_its_level_at_the_margin() -> None:
    rng = np.random.default_rng(0)
    drawn = rng.multinomial(800, [0.08, 0.05, 0.87], 2000)
    p_values = [statistics.worse_p_value(lost, won, 800, 0.03) for lost, won, _ in drawn.tolist()]
    assert 0.03 <= np.mean(np.array(p_values) <= 0.05) <= 0.065


def test_the_bootstrap_is_scipys() -> None:
    lost, won, count = 60, 35, 600
    differences = np.repeat([1, -1, 0], [lost, won, count - lost - won])
    resampled = stats.bootstrap(
        (differences,), np.mean, n_resamples=10_000, method="percentile", rng=np.random.default_rng(1)
    ).bootstrap_distribution
    for margin in (0.0, 0.02):
        p_value = statistics.worse_p_value(lost, won, count, margin, "bootstrap")
        loss = (lost - won) / count
        strayed = resampled - loss >= loss - margin - 1e-9
        assert p_value == pytest.approx(np.mean(strayed), abs=0.01)


def test_what_is_not_worse_needs_no_test() -> None:
    for test in ("mcnemar", "bootstrap"):
        assert statistics.worse_p_value(0, 0, 100, 0.0, test) == 1.0
        assert statistics.worse_p_value(4, 9, 100, 0.0, test) == 1.0
        assert statistics.worse_p_value(9, 4, 100, 0.05, test) == 1.0


def _pair(rng: np.random.Generator, labels: np.ndarray, ours: float, theirs: float) -> tuple[np.ndarray, ...]:
    """Probabilities of two models that err on partly the same images, with the given accuracies."""
    hardness = rng.normal(size=len(labels))
    answers = []
    for accuracy in (ours, theirs):
        skill = 0.7 * hardness + np.sqrt(1 - 0.7**2) * rng.normal(size=len(labels))
        right = skill < stats.norm.ppf(accuracy)
        classes = labels.max() + 1
        predicted = np.where(right, labels, (labels + rng.integers(1, classes, len(labels))) % classes)
        answers.append(0.8 * np.eye(classes)[predicted] + 0.2 / classes)
    return tuple(answers)


def _refused(
    candidate: np.ndarray, baseline: np.ndarray, labels: np.ndarray, settings: EvaluateSettings
) -> bool:
    sums = [Sums.of(one, labels, settings.top_k) for one in (candidate, baseline)]
    paired = Paired.of(candidate, baseline, labels)
    names = [str(number) for number in range(candidate.shape[1])]
    return not all(check.passed for check in policy.comparison(*sums, paired, names, settings))


@pytest.mark.parametrize("test", ["mcnemar", "bootstrap"])
@pytest.mark.parametrize("count", [120, 1000])
def test_equal_models_are_refused_at_most_at_alpha(test: str, count: int) -> None:
    rng = np.random.default_rng(count)
    settings = EvaluateSettings(test=test)
    refused = 0
    for _ in range(200):
        labels = rng.integers(0, 5, count)
        refused += _refused(*_pair(rng, labels, 0.85, 0.85), labels, settings)
    assert refused <= settings.alpha * 200


def test_a_real_loss_is_refused_and_the_margin_allows_it() -> None:
    rng = np.random.default_rng(0)
    labels = np.arange(2000) % 5
    pairs = [_pair(rng, labels, 0.80, 0.85) for _ in range(50)]
    strict, lenient = EvaluateSettings(), EvaluateSettings(margin=0.08)
    assert sum(_refused(*pair, labels, strict) for pair in pairs) >= 48
    assert sum(_refused(*pair, labels, lenient) for pair in pairs) <= 2


def test_better_overall_but_worse_in_one_class_is_refused_by_name() -> None:
    rng = np.random.default_rng(0)
    labels = np.arange(1500) % 5
    candidate, baseline = _pair(rng, labels, 0.90, 0.80)
    spoiled = (labels == 3) & (rng.random(1500) < 0.3)
    candidate[spoiled] = np.roll(candidate[spoiled], 1, axis=1)
    settings = EvaluateSettings()
    sums = [Sums.of(one, labels, settings.top_k) for one in (candidate, baseline)]
    names = ["ant", "bee", "cat", "dog", "eel"]
    overall, classes = policy.comparison(*sums, Paired.of(candidate, baseline, labels), names, settings)
    assert overall.passed and overall.value > overall.baseline
    assert not classes.passed
    assert "recall of 'dog'" in classes.explanation
    unprotected = EvaluateSettings(protect_classes=False)
    assert not _refused(candidate, baseline, labels, unprotected)


@pytest.fixture(scope="module")
def answers() -> tuple[np.ndarray, np.ndarray]:
    """Probabilities (800, 6) and labels of a middling model; the last class never occurs."""
    rng = np.random.default_rng(3)
    labels = rng.choice(5, 800, p=[0.4, 0.3, 0.15, 0.1, 0.05])
    logits = rng.normal(0, 1, (800, 6))
    logits[np.arange(800), labels] += 1.5
    logits[:, 5] -= 3
    exponents = np.exp(2 * logits)
    return exponents / exponents.sum(axis=1, keepdims=True), labels


def test_figures_are_scikit_learns(answers: tuple[np.ndarray, np.ndarray]) -> None:
    probabilities, labels = answers
    predicted = probabilities.argmax(axis=1)
    found = figures.metrics(Sums.of(probabilities, labels, 3), 3)
    present = range(5)
    expected = {
        "accuracy": reference.accuracy_score(labels, predicted),
        "top_3_accuracy": reference.top_k_accuracy_score(labels, probabilities, k=3, labels=range(6)),
        "loss": reference.log_loss(labels, probabilities, labels=range(6)),
    }
    for name, score in (
        ("macro_precision", reference.precision_score),
        ("macro_recall", reference.recall_score),
        ("macro_f1", reference.f1_score),
    ):
        expected[name] = score(labels, predicted, labels=present, average="macro", zero_division=0)
    assert {name: metric.value for name, metric in found.items() if name != "ece"} == pytest.approx(expected)
    area = np.mean([reference.roc_auc_score(labels == k, probabilities[:, k]) for k in present])
    assert figures.area_under_curve(probabilities, labels).value == pytest.approx(area)
    for metric in found.values():
        assert metric.low is None or metric.low < metric.value < metric.high


def test_the_calibration_error_is_that_of_its_definition(answers: tuple[np.ndarray, np.ndarray]) -> None:
    probabilities, labels = answers
    confidence, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == labels
    expected = 0.0
    for low in np.arange(15) / 15:
        inside = (confidence >= low) & (confidence < low + 1 / 15)
        if inside.any():
            expected += inside.mean() * abs(confidence[inside].mean() - right[inside].mean())
    sums = Sums.of(probabilities, labels, 3)
    assert figures.calibration_error(sums) == pytest.approx(expected)
    bins = figures.reliability(sums)
    assert sum(one.count for one in bins) == 800
    assert all(one.low <= one.confidence <= one.high for one in bins if one.count)


def test_sums_of_parts_add_up(answers: tuple[np.ndarray, np.ndarray]) -> None:
    probabilities, labels = answers
    parts = [Sums.of(probabilities[part], labels[part], 3) for part in np.array_split(np.arange(800), 7)]
    total = sum(parts[1:], parts[0])
    assert (
        figures.metrics(total, 3)["macro_f1"]
        == figures.metrics(Sums.of(probabilities, labels, 3), 3)["macro_f1"]
    )


def test_intervals_hold_the_truth_about_as_often_as_they_say() -> None:
    rng = np.random.default_rng(5)

    def draw(count: int) -> tuple[np.ndarray, np.ndarray]:
        labels = rng.choice(4, count, p=[0.4, 0.3, 0.2, 0.1])
        logits = rng.normal(0, 1, (count, 4))
        logits[np.arange(count), labels] += 1.2
        exponents = np.exp(logits)
        return exponents / exponents.sum(axis=1, keepdims=True), labels

    def measure(count: int) -> dict:
        probabilities, labels = draw(count)
        area = figures.area_under_curve(probabilities, labels)
        return {**figures.metrics(Sums.of(probabilities, labels, 2), 2), "auc": area}

    truth = measure(300_000)
    trials = [measure(400) for _ in range(200)]
    for name in ("accuracy", "loss", "macro_precision", "macro_recall", "macro_f1", "auc"):
        held = np.mean([trial[name].low <= truth[name].value <= trial[name].high for trial in trials])
        assert 0.9 <= held <= 0.99, (name, held)


def test_abstaining_gives_up_coverage_for_accuracy(answers: tuple[np.ndarray, np.ndarray]) -> None:
    rows = figures.coverage(*answers)
    assert rows[0].confidence == 0 and rows[0].coverage == 1
    assert [row.coverage for row in rows] == sorted((row.coverage for row in rows), reverse=True)
    assert rows[-1].accuracy > rows[0].accuracy
