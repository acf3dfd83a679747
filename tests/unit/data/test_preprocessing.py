"""Preprocessing against scikit-learn: fitted on the training rows alone, applied to all rows."""

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
from nabla.engine.data.input_warnings import InputWarnings
from nabla.engine.data.preprocessing import PreprocessingConfig, Preprocessor, fit_preprocessor
from nabla.engine.data.schema import Column
from nabla.engine.data.table_features import TableFeatures
from nabla.engine.errors import InvalidInput
from tests.unit.data.sample_tables import write_table

SCALERS = {"standardize": StandardScaler, "min_max": MinMaxScaler, "robust": RobustScaler}
ROWS = 500
TRAINING = np.flatnonzero(np.random.default_rng(1).uniform(size=ROWS) < 0.7)
ALL = np.arange(ROWS)


def field(row: int, column: int) -> str:
    return f"rows.{row}.{column}"


def matrix() -> npt.NDArray[np.float64]:
    """Return columns of very different magnitudes, one far from 0, one nearly constant, and one constant."""
    generator = np.random.default_rng(2)
    x = generator.normal(size=(ROWS, 6)) * [1, 1e-6, 1e6, 1, 1, 0] + [0, 0, 3, 1e7, 0, 0.1]
    x[:, 4] = np.where(x[:, 4] > 1.5, 5, 0)
    return x


def is_close(actual: npt.NDArray[Any], expected: npt.NDArray[Any]) -> bool:
    """Compare to within 1e-12 of the magnitude of each column."""
    return bool((np.abs(actual - expected) <= 1e-12 * np.maximum(1, np.abs(expected).max(axis=0))).all())


@pytest.mark.parametrize("method", SCALERS)
def test_scaling_matches_scikit_learn(method: Any) -> None:
    x = matrix()
    preprocessor = fit_preprocessor(PreprocessingConfig(inputs=method, targets=method), ArrayFeatures(x), x, TRAINING)
    scaler = SCALERS[method]().fit(x[TRAINING])
    expected = scaler.transform(x)
    if method == "robust":
        # The quartiles of this column are equal; scikit-learn then divides by 1, and Nabla by half the range.
        expected[:, 4] /= 2.5
    columns = [0, 1, 2, 4, 5]
    transformed = preprocessor.transform(x, ALL, field)
    assert is_close(transformed[:, columns], expected[:, columns])
    np.testing.assert_allclose(transformed[:, 3], expected[:, 3], rtol=0, atol=1e-8)
    assert np.array_equal(preprocessor.transform_targets(x), transformed)
    back = preprocessor.inverse_transform_targets(transformed)
    np.testing.assert_allclose(back, x, rtol=1e-12, atol=1e-12)
    assert (transformed[:, 5] == 0).all()


@pytest.mark.parametrize("method", SCALERS)
@pytest.mark.parametrize("scale", [1.0, 1e-300, 1e300])
def test_rounding_noise_is_not_scaled_up(method: Any, scale: float) -> None:
    x = scale * np.where(ALL % 2, 0.3, 0.1 + 0.1 + 0.1).reshape(-1, 1)
    assert len(np.unique(x)) == 2
    preprocessor = fit_preprocessor(PreprocessingConfig(inputs=method), ArrayFeatures(x), None, TRAINING)
    transformed = preprocessor.transform(x, ALL, field)
    assert np.abs(transformed).max() <= 1e-15 * max(scale, 1)


@pytest.mark.parametrize("method", ["standardize", "robust"])
def test_outliers_are_compressed_and_keep_their_order(method: Any) -> None:
    x = np.linspace(-1, 1, ROWS).reshape(-1, 1)
    config = PreprocessingConfig(inputs=method, outliers="compress")
    preprocessor = fit_preprocessor(config, ArrayFeatures(x), None, ALL)
    scaling_only = fit_preprocessor(PreprocessingConfig(inputs=method), ArrayFeatures(x), None, ALL)
    assert np.array_equal(preprocessor.transform(x, ALL, field), scaling_only.transform(x, ALL, field))
    wild = np.array([[-1e9], [-100.0], [-4.0], [4.0], [100.0], [1e9]])
    compressed = preprocessor.transform(wild, np.arange(6), field)
    assert (np.diff(compressed[:, 0]) > 0).all()
    assert (np.abs(compressed) > 3).all()
    assert (np.abs(compressed) < 6).all()


@pytest.mark.parametrize("method", SCALERS)
def test_numbers_far_outside_the_training_rows_are_reported(method: Any) -> None:
    x = np.column_stack((np.linspace(10, 20, ROWS), np.linspace(-1, 1, ROWS)))
    preprocessor = fit_preprocessor(PreprocessingConfig(inputs=method), ArrayFeatures(x), None, ALL)
    warnings = InputWarnings()
    preprocessor.transform(x, ALL, field, warnings)
    preprocessor.transform(np.array([[30.0, 0.0], [0.0, 3.0]]), np.arange(2), field, warnings)
    assert list(warnings.sentences()) == []
    preprocessor.transform(np.array([[30.5, 0.0], [900.0, 0.0], [15.0, -4.0]]), np.arange(7, 10), field, warnings)
    assert list(warnings.sentences()) == [
        "In input 1, 2 rows (first: row 8) have a value far outside those of training (10 to 20), such as 30.5.",
        "In input 2, row 10 has a value far outside those of training (-1 to 1), such as -4.",
    ]


@pytest.mark.parametrize("method", SCALERS)
def test_other_rows_do_not_change_fitted_bits(method: Any) -> None:
    x = matrix()
    config = PreprocessingConfig(inputs=method, targets=method)
    before = fit_preprocessor(config, ArrayFeatures(x), x, TRAINING)
    others = np.setdiff1d(ALL, TRAINING)
    x[others] = np.random.default_rng(3).normal(size=(len(others), 6)) * 1e9
    assert is_identical(fit_preprocessor(config, ArrayFeatures(x), x, TRAINING), before)
    x[TRAINING[0]] += 1
    assert not is_identical(fit_preprocessor(config, ArrayFeatures(x), x, TRAINING), before)


def is_identical(one: Preprocessor, other: Preprocessor) -> bool:
    """Compare bit for bit."""
    pairs = [(one.imputation_values, other.imputation_values)]
    for ours, theirs in (
        (one.input_scaling, other.input_scaling),
        (one.target_scaling, other.target_scaling),
    ):
        assert (ours is None) == (theirs is None)
        if ours is not None and theirs is not None:
            pairs += [(ours.offsets, theirs.offsets), (ours.scales, theirs.scales)]
    return (one.config, one.columns) == (other.config, other.columns) and all(
        first.tobytes() == second.tobytes() for first, second in pairs
    )


@pytest.mark.parametrize("method", SCALERS)
def test_scaling_merges_blocks_exactly(method: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Far from 0, plain sums of squares would lose all digits."""
    x = np.random.default_rng(4).normal((0, 1e6, -1e9), 1, (3000, 3))
    monkeypatch.setattr(scaling, "_BLOCK_NUMBERS", 50)
    monkeypatch.setattr(scaling, "_MAX_QUANTILE_NUMBERS", 4000)
    fitted = fit_preprocessor(PreprocessingConfig(inputs=method), ArrayFeatures(x), None, np.arange(3000)).input_scaling
    assert fitted is not None
    exact = x.astype(np.longdouble)
    offsets, scales = {
        "standardize": (exact.mean(axis=0), exact.std(axis=0)),
        "min_max": (exact.min(axis=0), np.ptp(exact, axis=0)),
        "robust": (np.median(x, axis=0), np.subtract(*np.percentile(x, (75, 25), axis=0))),
    }[method]
    np.testing.assert_allclose(fitted.offsets, offsets.astype(float), rtol=1e-15, atol=1e-15)
    np.testing.assert_allclose(fitted.scales, scales.astype(float), rtol=1e-12)


@pytest.mark.parametrize("dtype", ["bool", "int8", "uint16", "int64", "float16", "float32"])
def test_numbers_of_any_type(dtype: str) -> None:
    x = np.random.default_rng(5).integers(0, 2, (ROWS, 2)).astype(dtype)
    preprocessor = fit_preprocessor(PreprocessingConfig(inputs="standardize"), ArrayFeatures(x), None, TRAINING)
    expected = StandardScaler().fit(x[TRAINING].astype(float)).transform(x.astype(float))
    assert is_close(preprocessor.transform(x, ALL, field), expected)


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
    """Return columns that miss values, except for the last one."""
    generator = np.random.default_rng(6)
    rooms = [None if value == 7 else int(value) for value in generator.integers(0, 8, ROWS)]
    floor = [None if value == 7 else float(value) for value in generator.integers(0, 8, ROWS)]
    kinds = ["flat", "house", "house", "hut", None]
    return {
        "size": [None if value > 1 else float(value) for value in generator.normal(size=ROWS)],
        "price": [None if value < -1 else float(value) for value in generator.normal(size=ROWS)],
        "rooms": rooms,
        "floor": floor,
        "kind": [kinds[index] for index in generator.integers(0, 5, ROWS)],
        "garden": [[True, False, None][index] for index in generator.integers(0, 3, ROWS)],
        "built": [float(value) for value in generator.integers(0, 20_000, ROWS)],
    }


def table(directory: Path, values: dict[str, list[Any]], batch_rows: int | None = None) -> TableFeatures:
    arrays = {name: pa.array(column) for name, column in values.items()}
    if "built" in arrays:
        arrays["built"] = arrays["built"].cast(pa.int32()).cast(pa.date32())
    return TableFeatures(write_table(directory, arrays, batch_rows), COLUMNS)


@pytest.mark.parametrize("method", SCALERS)
def test_table_preprocessing_matches_scikit_learn(tmp_path: Path, method: Any) -> None:
    values = houses()
    features = table(tmp_path, values)
    preprocessor = fit_preprocessor(PreprocessingConfig(inputs=method), features, None, TRAINING)
    transformed = preprocessor.transform(features.read(ALL), ALL, field)
    assert transformed.shape == (ROWS, 9)

    names = ["size", "price", "rooms", "floor"]
    numbers = np.array([values[name] for name in names], float).T
    for index, strategy in enumerate(("mean", "median", "most_frequent", "constant")):
        imputer = SimpleImputer(strategy=strategy, fill_value=-1.0 if strategy == "constant" else None)
        column = numbers[:, index : index + 1]
        numbers[:, index : index + 1] = imputer.fit(column[TRAINING]).transform(column)
    numbers = np.column_stack([numbers, values["built"]])
    assert is_close(transformed[:, [*NUMBERS, 8]], SCALERS[method]().fit(numbers[TRAINING]).transform(numbers))

    kinds = np.array(values["kind"], object).reshape(-1, 1)
    imputer = SimpleImputer(strategy="most_frequent", missing_values=None).fit(kinds[TRAINING])
    encoder = OneHotEncoder(categories=[list(COLUMNS[4].categories)], sparse_output=False)
    np.testing.assert_array_equal(transformed[:, 4:7], encoder.fit_transform(imputer.transform(kinds)))
    np.testing.assert_array_equal(transformed[:, 7], [1.0 if value is None else value for value in values["garden"]])


def test_other_rows_do_not_change_fitted_bits_of_tables(tmp_path: Path) -> None:
    config, values = PreprocessingConfig(inputs="standardize"), houses()
    before = fit_preprocessor(config, table(tmp_path / "1", values), None, TRAINING)
    for row in np.setdiff1d(ALL, TRAINING):
        values["size"][row], values["price"][row], values["rooms"][row] = 1e9, None, 77
        values["kind"][row], values["garden"][row], values["built"][row] = "hut", None, 0.0
    assert is_identical(fit_preprocessor(config, table(tmp_path / "2", values, batch_rows=7), None, TRAINING), before)
    values["size"][TRAINING[5]] = 100.0
    assert not is_identical(fit_preprocessor(config, table(tmp_path / "3", values), None, TRAINING), before)


def test_missing_values_without_imputation_are_rejected(tmp_path: Path) -> None:
    values = houses()
    preprocessor = fit_preprocessor(PreprocessingConfig(), table(tmp_path / "1", values), None, TRAINING)
    values["built"][TRAINING[3]] = None
    incomplete = table(tmp_path / "2", values)
    with pytest.raises(InvalidInput, match=rf"Row {TRAINING[3] + 1} has no value in the column 'built'") as rejected:
        preprocessor.transform(incomplete.read(ALL), ALL, field)
    assert rejected.value.problems[0][0] == f"rows.{TRAINING[3]}.6"
    with pytest.raises(InvalidInput, match=f"Row {TRAINING[3] + 1} .*'built'") as rejected:
        fit_preprocessor(PreprocessingConfig(inputs="robust"), incomplete, None, TRAINING)
    assert rejected.value.problems[0][0] == "dataset_id"
    for row in TRAINING:
        values["size"][row] = None
    with pytest.raises(InvalidInput, match="'size' has no value in any training row"):
        fit_preprocessor(PreprocessingConfig(), table(tmp_path / "3", values), None, TRAINING)


def test_unknown_categories_are_rejected_or_ignored(tmp_path: Path) -> None:
    values = houses()
    rejecting, ignoring = (
        fit_preprocessor(PreprocessingConfig(handle_unknown=strategy), table(tmp_path / "1", values), None, TRAINING)
        for strategy in ("error", "ignore")
    )
    values["kind"][17] = "castle"
    raw = table(tmp_path / "2", values).read(ALL)
    with pytest.raises(
        InvalidInput, match=r"Row 18 .* 'kind'; the categories learned are flat, house, hut"
    ) as rejected:
        rejecting.transform(raw, ALL, field)
    assert rejected.value.problems[0][0] == "rows.17.4"
    assert ignoring.transform(raw, ALL, field)[17, 4:7].tolist() == [0, 0, 0]


@pytest.mark.parametrize(
    ("column", "message"),
    [
        (Column("c", "number", imputation="constant", constant="x"), "'x'; accepted: a number"),
        (Column("c", "number", imputation="constant"), "None; accepted: a number"),
        (Column("c", "category", ("a", "b"), imputation="constant", constant="z"), "one of its categories: a, b"),
        (
            Column("c", "category", ("a", "b"), imputation="mean"),
            "have no mean; use the imputation most_frequent or constant",
        ),
        (Column("c", "boolean", imputation="constant", constant="maybe"), "true or false"),
        (Column("c", "date", imputation="constant", constant="never"), "a date"),
    ],
)
def test_unsuitable_imputations_are_rejected(tmp_path: Path, column: Column, message: str) -> None:
    file = write_table(tmp_path, {"c": pa.array([None, None], pa.date32() if column.type == "date" else pa.string())})
    with pytest.raises(InvalidInput, match=message):
        fit_preprocessor(PreprocessingConfig(), TableFeatures(file, (column,)), None, np.arange(2))


@pytest.mark.parametrize(
    ("column", "value"),
    [
        (Column("c", "category", ("a", "b"), imputation="constant", constant="b"), 1),
        (Column("c", "boolean", imputation="constant", constant="False"), 0),
        (Column("c", "boolean", imputation="constant", constant=1.0), 1),
        (Column("c", "date", imputation="constant", constant="1970-01-11"), 10),
        (Column("c", "date", imputation="constant", constant=3.5), 3.5),
    ],
)
def test_imputation_constants_are_parsed(tmp_path: Path, column: Column, value: float) -> None:
    file = write_table(tmp_path, {"c": pa.array([None, None], pa.string())})
    preprocessor = fit_preprocessor(PreprocessingConfig(), TableFeatures(file, (column,)), None, np.arange(2))
    assert preprocessor.imputation_values.tolist() == [value]


@pytest.mark.parametrize("method", ["standardize", "min_max"])
def test_columns_beyond_float64_are_rejected(method: Any) -> None:
    x = np.array([[1.0, 1e308], [2, -1e308], [3, 0]])
    with pytest.raises(InvalidInput, match="range of the column 1 of the inputs is too large"):
        fit_preprocessor(PreprocessingConfig(inputs=method), ArrayFeatures(x), None, np.arange(3))


def test_column_mismatch_is_described(tmp_path: Path) -> None:
    fitted = fit_preprocessor(PreprocessingConfig(), table(tmp_path, houses()), None, TRAINING)
    fitted.check_columns(COLUMNS[::-1])
    identity = Preprocessor.identity()
    identity.check_columns(None)
    for preprocessor, columns, message in (
        (fitted, COLUMNS[1:], "trained on: it has no column 'size'"),
        (fitted, (*COLUMNS, Column("age", "number")), "it also has a column 'age'"),
        (
            fitted,
            (Column("size", "category", ("a",)), *COLUMNS[1:]),
            "its column 'size' is a category, and not a number",
        ),
        (fitted, None, "it has plain numbers, and no columns"),
        (identity, COLUMNS, "it has columns, and not plain numbers"),
    ):
        with pytest.raises(InvalidInput, match=message) as rejected:
            preprocessor.check_columns(columns, for_training=True)
        assert rejected.value.problems[0][0] == "dataset_id"


def test_data_to_predict_may_have_more_columns_and_other_types(tmp_path: Path) -> None:
    fitted = fit_preprocessor(PreprocessingConfig(), table(tmp_path, houses()), None, TRAINING)
    fitted.check_columns((Column("size", "boolean"), *COLUMNS[1:], Column("age", "number")))
    assert fitted.list_unused((*COLUMNS, Column("age", "number"))) == ["age"]
    with pytest.raises(InvalidInput, match="its column 'size' is a category, and not a number"):
        fitted.check_columns((Column("size", "category", ("a",)), *COLUMNS[1:]))
