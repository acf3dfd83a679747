"""What is fitted is what scikit-learn fits, on the training rows alone; what is prepared is what it transforms."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest
from sklearn.impute import SimpleImputer
from sklearn.preprocessing import MinMaxScaler, OneHotEncoder, RobustScaler, StandardScaler

from nabla.engine.data import scaling
from nabla.engine.data.features import ArrayFeatures
from nabla.engine.data.preprocessing import PreprocessingConfig, Preprocessor, fit
from nabla.engine.data.schema import Column
from nabla.engine.data.table_features import TableFeatures
from nabla.engine.errors import InvalidInput
from tests.unit.data.sample_tables import stored_table

SCALERS = {"standardize": StandardScaler, "min_max": MinMaxScaler, "robust": RobustScaler}
ROWS = 500
TRAINING = np.flatnonzero(np.random.default_rng(1).uniform(size=ROWS) < 0.7)
ALL = np.arange(ROWS)


def field(row: int, column: int) -> str:
    return f"rows.{row}.{column}"


def matrix() -> npt.NDArray[np.float64]:
    """Columns of very different size, one far from 0, one that is the same in nearly all rows, and one in all."""
    generator = np.random.default_rng(2)
    x = generator.normal(size=(ROWS, 6)) * [1, 1e-6, 1e6, 1, 1, 0] + [0, 0, 3, 1e7, 0, 0.1]
    x[:, 4] = np.where(x[:, 4] > 1.5, 5, 0)
    return x


def close(found: npt.NDArray[Any], expected: npt.NDArray[Any]) -> bool:
    """To 1e-12 of what a column reaches to, or what its rounding allows at 1e7."""
    return bool((np.abs(found - expected) <= 1e-12 * np.maximum(1, np.abs(expected).max(axis=0))).all())


@pytest.mark.parametrize("word", SCALERS)
def test_inputs_and_targets_are_scaled_as_by_scikit_learn(word: Any) -> None:
    x = matrix()
    found = fit(PreprocessingConfig(inputs=word, targets=word), ArrayFeatures(x), x, TRAINING)
    scaler = SCALERS[word]().fit(x[TRAINING])
    expected = scaler.transform(x)
    columns = [0, 1, 2, 4, 5]
    prepared = found.prepare(x, ALL, field)
    assert close(prepared[:, columns], expected[:, columns])
    np.testing.assert_allclose(prepared[:, 3], expected[:, 3], rtol=0, atol=1e-8)
    assert np.array_equal(found.prepare_targets(x), prepared)
    back = found.answers(prepared)
    np.testing.assert_allclose(back, x, rtol=1e-12, atol=1e-12)
    assert (prepared[:, 5] == 0).all()


@pytest.mark.parametrize("word", SCALERS)
def test_rows_that_are_not_trained_on_change_no_bit(word: Any) -> None:
    x = matrix()
    rule = PreprocessingConfig(inputs=word, targets=word)
    before = fit(rule, ArrayFeatures(x), x, TRAINING)
    others = np.setdiff1d(ALL, TRAINING)
    x[others] = np.random.default_rng(3).normal(size=(len(others), 6)) * 1e9
    assert same(fit(rule, ArrayFeatures(x), x, TRAINING), before)
    x[TRAINING[0]] += 1
    assert not same(fit(rule, ArrayFeatures(x), x, TRAINING), before)


def same(one: Preprocessor, other: Preprocessor) -> bool:
    """Bit for bit."""
    pairs = [(one.fills, other.fills)]
    for ours, theirs in ((one.inputs, other.inputs), (one.targets, other.targets)):
        assert (ours is None) == (theirs is None)
        if ours is not None and theirs is not None:
            pairs += [(ours.offsets, theirs.offsets), (ours.scales, theirs.scales)]
    return (one.rule, one.columns) == (other.rule, other.columns) and all(
        first.tobytes() == second.tobytes() for first, second in pairs
    )


@pytest.mark.parametrize("word", SCALERS)
def test_many_blocks_are_put_together(word: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Numbers that are far from 0 are where sums of squares lose everything."""
    x = np.random.default_rng(4).normal((0, 1e6, -1e9), 1, (3000, 3))
    monkeypatch.setattr(scaling, "_NUMBERS_OF_BLOCK", 50)
    monkeypatch.setattr(scaling, "_NUMBERS_HELD", 4000)
    found = fit(PreprocessingConfig(inputs=word), ArrayFeatures(x), None, np.arange(3000)).inputs
    assert found is not None
    exact = x.astype(np.longdouble)
    offsets, scales = {
        "standardize": (exact.mean(axis=0), exact.std(axis=0)),
        "min_max": (exact.min(axis=0), np.ptp(exact, axis=0)),
        "robust": (np.median(x, axis=0), np.subtract(*np.percentile(x, (75, 25), axis=0))),
    }[word]
    np.testing.assert_allclose(found.offsets, offsets.astype(float), rtol=1e-15, atol=1e-15)
    np.testing.assert_allclose(found.scales, scales.astype(float), rtol=1e-12)


@pytest.mark.parametrize("dtype", ["bool", "int8", "uint16", "int64", "float16", "float32"])
def test_numbers_of_any_type(dtype: str) -> None:
    x = np.random.default_rng(5).integers(0, 2, (ROWS, 2)).astype(dtype)
    found = fit(PreprocessingConfig(inputs="standardize"), ArrayFeatures(x), None, TRAINING)
    expected = StandardScaler().fit(x[TRAINING].astype(float)).transform(x.astype(float))
    assert close(found.prepare(x, ALL, field), expected)


COLUMNS = (
    Column("size", "number", imputation="mean"),
    Column("price", "number", imputation="median"),
    Column("rooms", "number", imputation="most_frequent"),
    Column("floor", "number", imputation="constant", constant=-1.0),
    Column("kind", "category", ("flat", "house", "hut"), imputation="most_frequent"),
    Column("garden", "boolean", imputation="constant", constant="true"),
    Column("built", "date"),
)
NUMBERS = [0, 1, 2, 3]


def houses() -> dict[str, list[Any]]:
    """With values missing everywhere but in the last column."""
    generator = np.random.default_rng(6)
    rooms = [None if value == 7 else int(value) for value in generator.integers(0, 8, ROWS)]
    floor = [None if value == 7 else float(value) for value in generator.integers(0, 8, ROWS)]
    kinds = ["flat", "house", "house", "hut", None]
    return {
        "size": [None if value > 1 else float(value) for value in generator.normal(size=ROWS)],
        "price": [None if value < -1 else float(value) for value in generator.normal(size=ROWS)],
        "rooms": rooms,
        "floor": floor,
        "kind": [kinds[place] for place in generator.integers(0, 5, ROWS)],
        "garden": [[True, False, None][place] for place in generator.integers(0, 3, ROWS)],
        "built": [float(value) for value in generator.integers(0, 20_000, ROWS)],
    }


def table(folder: Path, values: dict[str, list[Any]], rows_of_batch: int | None = None) -> TableFeatures:
    arrays = {name: pa.array(column) for name, column in values.items()}
    if "built" in arrays:
        arrays["built"] = arrays["built"].cast(pa.int32()).cast(pa.date32())
    return TableFeatures(stored_table(folder, arrays, rows_of_batch), COLUMNS)


@pytest.mark.parametrize("word", SCALERS)
def test_a_table_is_prepared_as_by_scikit_learn(tmp_path: Path, word: Any) -> None:
    values = houses()
    features = table(tmp_path, values)
    found = fit(PreprocessingConfig(inputs=word), features, None, TRAINING)
    prepared = found.prepare(features.read(ALL), ALL, field)
    assert prepared.shape == (ROWS, 9)

    names = ["size", "price", "rooms", "floor"]
    numbers = np.array([values[name] for name in names], float).T
    for place, strategy in enumerate(("mean", "median", "most_frequent", "constant")):
        imputer = SimpleImputer(strategy=strategy, fill_value=-1.0 if strategy == "constant" else None)
        column = numbers[:, place : place + 1]
        numbers[:, place : place + 1] = imputer.fit(column[TRAINING]).transform(column)
    numbers = np.column_stack([numbers, values["built"]])
    assert close(prepared[:, [*NUMBERS, 8]], SCALERS[word]().fit(numbers[TRAINING]).transform(numbers))

    kinds = np.array(values["kind"], object).reshape(-1, 1)
    imputer = SimpleImputer(strategy="most_frequent", missing_values=None).fit(kinds[TRAINING])
    encoder = OneHotEncoder(categories=[list(COLUMNS[4].categories)], sparse_output=False)
    np.testing.assert_array_equal(prepared[:, 4:7], encoder.fit_transform(imputer.transform(kinds)))
    np.testing.assert_array_equal(prepared[:, 7], [1.0 if value is None else value for value in values["garden"]])


def test_the_bits_of_a_table_depend_on_its_training_rows_alone(tmp_path: Path) -> None:
    rule, values = PreprocessingConfig(inputs="standardize"), houses()
    before = fit(rule, table(tmp_path / "1", values), None, TRAINING)
    for row in np.setdiff1d(ALL, TRAINING):
        values["size"][row], values["price"][row], values["rooms"][row] = 1e9, None, 77
        values["kind"][row], values["garden"][row], values["built"][row] = "hut", None, 0.0
    assert same(fit(rule, table(tmp_path / "2", values, rows_of_batch=7), None, TRAINING), before)
    values["size"][TRAINING[5]] = 100.0
    assert not same(fit(rule, table(tmp_path / "3", values), None, TRAINING), before)


def test_what_nothing_fills_is_refused(tmp_path: Path) -> None:
    values = houses()
    found = fit(PreprocessingConfig(), table(tmp_path / "1", values), None, TRAINING)
    values["built"][TRAINING[3]] = None
    holed = table(tmp_path / "2", values)
    with pytest.raises(InvalidInput, match=rf"Row {TRAINING[3] + 1} has no value in the column 'built'") as refused:
        found.prepare(holed.read(ALL), ALL, field)
    assert refused.value.problems[0][0] == f"rows.{TRAINING[3]}.6"
    with pytest.raises(InvalidInput, match=f"Row {TRAINING[3] + 1} .*'built'") as refused:
        fit(PreprocessingConfig(inputs="robust"), holed, None, TRAINING)
    assert refused.value.problems[0][0] == "dataset_id"
    for row in TRAINING:
        values["size"][row] = None
    with pytest.raises(InvalidInput, match="'size' has no value in any row"):
        fit(PreprocessingConfig(), table(tmp_path / "3", values), None, TRAINING)


def test_categories_that_were_not_learned_are_refused_or_ignored(tmp_path: Path) -> None:
    values = houses()
    refusing, ignoring = (
        fit(PreprocessingConfig(handle_unknown=word), table(tmp_path / "1", values), None, TRAINING)
        for word in ("error", "ignore")
    )
    values["kind"][17] = "castle"
    raw = table(tmp_path / "2", values).read(ALL)
    with pytest.raises(
        InvalidInput, match=r"Row 18 .* 'kind' .* none of the categories learned: flat, house, hut"
    ) as refused:
        refusing.prepare(raw, ALL, field)
    assert refused.value.problems[0][0] == "rows.17.4"
    assert ignoring.prepare(raw, ALL, field)[17, 4:7].tolist() == [0, 0, 0]


@pytest.mark.parametrize(
    ("column", "words"),
    [
        (Column("c", "number", imputation="constant", constant="x"), "'x'; accepted is a number"),
        (Column("c", "number", imputation="constant"), "None; accepted is a number"),
        (Column("c", "category", ("a", "b"), imputation="constant", constant="z"), "one of its categories: a, b"),
        (
            Column("c", "category", ("a", "b"), imputation="mean"),
            "have no mean; fill it with most_frequent or constant",
        ),
        (Column("c", "boolean", imputation="constant", constant="maybe"), "true or false"),
        (Column("c", "date", imputation="constant", constant="never"), "a date"),
    ],
)
def test_fills_that_cannot_be(tmp_path: Path, column: Column, words: str) -> None:
    file = stored_table(tmp_path, {"c": pa.array([None, None], pa.date32() if column.type == "date" else pa.string())})
    with pytest.raises(InvalidInput, match=words):
        fit(PreprocessingConfig(), TableFeatures(file, (column,)), None, np.arange(2))


@pytest.mark.parametrize(
    ("column", "fill"),
    [
        (Column("c", "category", ("a", "b"), imputation="constant", constant="b"), 1),
        (Column("c", "boolean", imputation="constant", constant="False"), 0),
        (Column("c", "boolean", imputation="constant", constant=1.0), 1),
        (Column("c", "date", imputation="constant", constant="1970-01-11"), 10),
        (Column("c", "date", imputation="constant", constant=3.5), 3.5),
    ],
)
def test_constants(tmp_path: Path, column: Column, fill: float) -> None:
    file = stored_table(tmp_path, {"c": pa.array([None, None], pa.string())})
    found = fit(PreprocessingConfig(), TableFeatures(file, (column,)), None, np.arange(2))
    assert found.fills.tolist() == [fill]


@pytest.mark.parametrize("word", ["standardize", "min_max"])
def test_numbers_that_reach_too_far(word: Any) -> None:
    x = np.array([[1.0, 1e308], [2, -1e308], [3, 0]])
    with pytest.raises(InvalidInput, match="column 1 of the inputs reaches too far"):
        fit(PreprocessingConfig(inputs=word), ArrayFeatures(x), None, np.arange(3))


def test_other_columns_are_named(tmp_path: Path) -> None:
    found = fit(PreprocessingConfig(), table(tmp_path, houses()), None, TRAINING)
    found.check_columns(COLUMNS[::-1])
    plain = Preprocessor.plain()
    plain.check_columns(None)
    for preprocessor, columns, words in (
        (found, COLUMNS[1:], "trained on: it has no column 'size'"),
        (found, (*COLUMNS, Column("age", "number")), "it also has a column 'age'"),
        (
            found,
            (Column("size", "category", ("a",)), *COLUMNS[1:]),
            "its column 'size' is a category, and not a number",
        ),
        (found, None, "it has plain numbers, and no columns"),
        (plain, COLUMNS, "it has columns, and not plain numbers"),
    ):
        with pytest.raises(InvalidInput, match=words) as refused:
            preprocessor.check_columns(columns)
        assert refused.value.problems[0][0] == "dataset_id"
