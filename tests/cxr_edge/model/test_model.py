"""The model as an integrator uses it."""

import pickle
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import pytest

import cxr_edge
from cxr_edge import errors
from cxr_edge.model.preprocess import preprocess
from cxr_edge.model.tta import make_variants
from tests.conftest import without_maps


def values(result):
    return np.array(list(result.probabilities.values()))


def test_a_result_is_complete(model, image_path):
    result = model.predict(image_path, tta=True, heatmaps=True)
    assert result.path == str(image_path)
    assert result.tta_mode == "tta"
    assert result.variants == len(model.manifest.tta.variants)
    assert tuple(result.probabilities) == model.manifest.label_names
    assert all(0 <= p <= 1 for p in result.probabilities.values())
    listed = [f.probability for f in result.findings]
    assert listed == sorted(listed, reverse=True)
    assert result.ok
    assert {f.label for f in result.findings} <= set(model.manifest.finding_names)
    for finding in result.findings:
        assert finding.probability == result.probabilities[finding.label]
        assert finding.positive == (finding.probability >= finding.threshold)
        assert finding.std >= 0


def test_a_printed_result_holds_the_notice(model, image_path):
    assert "not a medical device" in str(model.predict(image_path))


def test_results_travel_between_processes(model, image_path):
    result = model.predict(image_path, heatmaps=True)
    again = pickle.loads(pickle.dumps(result))
    assert again.to_dict() == result.to_dict()
    np.testing.assert_array_equal(again.maps, result.maps)


def test_results_are_frozen(model, image_path):
    result = model.predict(image_path, heatmaps=True)
    with pytest.raises(AttributeError):
        result.variants = 1
    with pytest.raises(AttributeError):
        result.findings[0].positive = True
    with pytest.raises(ValueError, match="read-only"):
        result.maps[0] = 1
    result.probabilities.clear()
    assert len(result.probabilities) == len(result.labels)


def test_the_tta_mode_defaults_to_the_manifest(model, image_path):
    assert model.predict(image_path).tta_mode == model.manifest.tta.default_mode
    assert model.predict(image_path, tta=False).variants == 1
    assert all(f.std is None for f in model.predict(image_path, tta=False).findings)


def test_path_bytes_and_array_agree(model, image_path, image):
    by_path, by_bytes, by_array = (model.predict(s) for s in (image_path, image_path.read_bytes(), image))
    np.testing.assert_array_equal(values(by_path), values(by_bytes))
    np.testing.assert_array_equal(values(by_path), values(by_array))
    assert by_path.sha256 == by_bytes.sha256
    assert by_array.sha256 is None
    assert by_array.path is None


def test_8_and_16_bit_versions_of_an_image_agree(model, image, tmp_path):
    cv2.imwrite(str(tmp_path / "deep.png"), image.astype(np.uint16) * 257)
    reference = values(model.predict(image))
    np.testing.assert_array_equal(values(model.predict(tmp_path / "deep.png")), reference)
    twelve = np.rint(image * (4095 / 255)).astype(np.uint16)
    np.testing.assert_array_equal(values(model.predict(twelve, bits_stored=12)), reference)


def test_tta_equals_the_mean_of_single_calls(uncalibrated, sample):
    model = uncalibrated
    image = cv2.imread(str(sample), cv2.IMREAD_GRAYSCALE)
    shown = make_variants(preprocess(image, (224, 224)), model.manifest.tta.variants)
    singles = [values(model.predict(variant, tta=False)) for variant in shown]
    averaged = model.predict(image, tta=True)
    np.testing.assert_allclose(values(averaged), np.mean(singles, axis=0), atol=1e-6)
    stds = dict(zip(model.manifest.label_names, np.std(singles, axis=0), strict=True))
    for finding in averaged.findings:
        assert finding.std == pytest.approx(stds[finding.label], abs=1e-6)


@pytest.mark.parametrize("tta", [False, True])
def test_a_batch_equals_single_calls(model, tta):
    from tests.conftest import SAMPLES

    batch = model.predict_batch(SAMPLES, tta=tta, heatmaps=True)
    for path, result in zip(SAMPLES, batch, strict=True):
        single = model.predict(path, tta=tta, heatmaps=True)
        np.testing.assert_array_equal(values(result), values(single))
        np.testing.assert_array_equal(result.maps, single.maps)


def test_a_bad_input_fails_alone(model, image_path, image, tmp_path):
    (tmp_path / "text.png").write_text("not an image")
    sources = [image_path, tmp_path / "text.png", image, np.zeros((100, 100), np.uint8), tmp_path / "missing.png", b""]
    results = model.predict_batch(sources, tta=False)
    assert [type(r).__name__ for r in results] == ["Result", "InputFailure", "Result"] + ["InputFailure"] * 3
    assert [r.code for r in results if isinstance(r, cxr_edge.InputFailure)] == [
        "not_an_image",
        "blank",
        "not_found",
        "empty_file",
    ]
    with pytest.raises(errors.NotAnImage):
        model.predict(tmp_path / "text.png")


def test_threads_that_share_a_model_agree_with_a_serial_run(model):
    from tests.conftest import SAMPLES

    work = SAMPLES * 4
    serial = [values(model.predict(path)) for path in SAMPLES] * 4
    with ThreadPoolExecutor(8) as pool:
        threaded = list(pool.map(lambda path: values(model.predict(path)), work))
    np.testing.assert_array_equal(threaded, serial)


def test_threads_within_an_inference_do_not_change_it(model, image_path):
    two = cxr_edge.load(device="cpu", threads=2)
    np.testing.assert_allclose(values(two.predict(image_path)), values(model.predict(image_path)), atol=1e-6)


def test_operating_point(model, image_path):
    name = model.manifest.default_operating_point
    chosen = model.predict(image_path, operating_point=name)
    assert chosen.to_dict() == model.predict(image_path).to_dict()
    with pytest.raises(errors.UnknownOperatingPoint, match=name):
        model.predict(image_path, operating_point="no such")


def test_an_unknown_device_is_refused():
    with pytest.raises(errors.DeviceUnavailable, match="auto, cpu, cuda, tensorrt-ep, tensorrt, openvino"):
        cxr_edge.load(device="abacus")


def test_cuda_is_refused_where_it_is_missing():
    import onnxruntime

    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("this ONNX Runtime has a CUDA provider")
    with pytest.raises(errors.DeviceUnavailable, match="install the extra gpu"):
        cxr_edge.load(device="cuda")
    model = cxr_edge.load(device="auto")
    assert model.device == "cpu"
    assert "not tensorrt or cuda: " in model.device_reason


def test_nonsense_fails_alone(model, image_path):
    for nonsense in (7, None, "a\0b.png"):
        good, bad = model.predict_batch([image_path, nonsense], tta=False)
        assert isinstance(good, cxr_edge.Result)
        assert isinstance(bad, cxr_edge.InputFailure)
    with pytest.raises(ValueError, match="threads"):
        cxr_edge.load(threads=0)


def test_one_path_is_not_a_batch(model, image_path):
    for one in (str(image_path), image_path, b"bytes"):
        with pytest.raises(TypeError, match="call predict"):
            model.predict_batch(one)


def test_repr_of_a_model(model):
    assert repr(model) == f"<Model {model.identity} on cpu in fp32>"


def test_a_model_cannot_be_changed(model, image_path):
    before = model.predict(image_path).to_dict()
    for name in ("device", "identity", "manifest", "labels"):
        with pytest.raises(AttributeError):
            setattr(model, name, None)
    model.manifest.operating_points["max_f1"].tta.thresholds["Mass"] = 0.0
    assert model.predict(image_path).to_dict() == before


def test_a_batch_takes_its_sources_as_it_needs_them(model, image):
    taken = []

    def images():
        for number in range(50):
            taken.append(number)
            yield image if number < 3 else b""

    assert len(model.predict_batch(images(), tta=False)) == 50
    assert taken == list(range(50))


@pytest.mark.parametrize("options", [{"tta": False}, {"tta": True}, {"adaptive": True, "operating_point": "youden"}])
def test_predict_is_evaluate_and_decide(model, sample, options):
    settings = model.settings(**options, heatmaps=True)
    decided = model.decide(model.evaluate(sample, settings), settings)
    predicted = model.predict(sample, **options, heatmaps=True)
    assert decided.to_dict() == predicted.to_dict()
    np.testing.assert_array_equal(decided.maps, predicted.maps)


def test_an_evaluation_by_all_variants_is_decided_with_any_settings(model, sample):
    evaluation = model.evaluate(sample, model.settings(tta=True))
    for options in ({"tta": False}, {"tta": True}, {"adaptive": True}, {"tta": True, "operating_point": "youden"}):
        decided = model.decide(evaluation, model.settings(**options))
        predicted = model.predict(sample, **options)
        assert (decided.tta_mode, decided.variants) == (predicted.tta_mode, predicted.variants)
        np.testing.assert_allclose(decided.values, predicted.values, atol=1e-6)
        assert [f.positive for f in decided.findings] == [f.positive for f in predicted.findings]


def test_an_evaluation_that_lacks_variants_is_refused(model, image):
    one = model.evaluate(image, model.settings(tta=False))
    with pytest.raises(ValueError, match="tta=True"):
        model.decide(one, model.settings(tta=True))


def test_settings_are_checked_when_they_are_made(model):
    with pytest.raises(errors.UnknownOperatingPoint, match="no such"):
        model.settings(operating_point="no such")
    with pytest.raises(ValueError, match="adaptive"):
        model.settings(tta=False, adaptive=True)


def test_provenance_of_a_result(model):
    settings = model.settings(adaptive=True, operating_point="youden")
    provenance = model.provenance(settings)
    assert provenance.settings is settings
    assert provenance.thresholds == model.manifest.thresholds("youden", "tta")
    assert (provenance.model, provenance.bundle_sha256) == (model.identity, model.bundle_sha256)
    assert "validation images" in provenance.fitted_on
    assert "6 TTA variants" in provenance.gate or "max Δp to Keras" in provenance.gate


def test_results_are_streamed_while_sources_are_still_read(model, image):
    taken = []

    def images():
        for number in range(200):
            taken.append(number)
            yield image if number < 3 else b""

    results = model.predict_iter(images(), tta=False)
    assert next(results).ok
    assert len(taken) < 100
    assert [result.ok for result in results] == [True, True] + [False] * 197


def test_a_bundle_without_maps_predicts_and_refuses_heat_maps(image):
    model = without_maps()
    assert model.predict(image, tta=True).findings
    with pytest.raises(errors.HeatmapUnavailable, match="no heat maps"):
        model.predict(image, heatmaps=True)


def test_a_decision_needs_the_heat_maps_it_is_asked_for(model, image):
    evaluation = model.evaluate(image, model.settings(tta=True))
    with pytest.raises(ValueError, match="expected an evaluation with heat maps"):
        model.decide(evaluation, model.settings(tta=True, heatmaps=True))


def test_an_empty_operating_point_is_unknown(model):
    with pytest.raises(errors.UnknownOperatingPoint):
        model.settings(operating_point="")
