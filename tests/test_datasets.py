"""Splits are fixed and disjoint, and the test split is out of reach while a run trains."""

import random
import threading
from dataclasses import dataclass
from pydoc_data.topics import topics

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from hundredfold.replication import registry
from hundredfold.replication.datasets import _images
from hundredfold.replication.datasets.base import Dataset, DataSpec, Split, sealed
from hundredfold.replication.datasets.digits import Digits
from hundredfold.replication.datasets.topics import Topics

DATASETS = registry.discover("hundredfold.replication.datasets", Dataset)


@dataclass(frozen=True)
class Counting(Dataset):
    def read_test(self):
        return Split(torch.zeros(1), torch.zeros(1))


def present(name):
    """The data set with its defaults; skips the test, with the reason, where its files are not on this machine."""
    made = registry.create("dataset", DATASETS, name)
    try:
        made.fingerprint()
    except ValueError as error:
        pytest.skip(str(error))
    return made


@pytest.fixture(scope="module", params=sorted(DATASETS))  # the module's, so that each set is read in one go
def dataset(request):
    return present(request.param)


def test_the_bundled_data_sets_are_registered():
    assert {"digits", "topics"} <= set(DATASETS)


def test_inputs_and_targets_fit_the_spec(dataset):
    spec = dataset.spec()
    assert isinstance(spec, DataSpec) and spec.metric in ("accuracy", "loss")
    for split in (*dataset.training(), dataset.test()):
        assert tuple(split.inputs.shape[1:]) == spec.input_shape and len(split.targets) == len(split.inputs)
        inputs, targets = dataset.prepare(split.inputs[:256], split.targets)
        assert inputs.dtype == (torch.float32 if spec.kind == "image" else torch.long)
        assert targets.dtype == torch.long and 0 <= targets.min() and targets.max() < spec.num_classes


def test_splits_ignore_every_seed(dataset):
    def read(seed):
        random.seed(seed), np.random.seed(seed), torch.manual_seed(seed)
        state = torch.get_rng_state()
        _images._training.cache_clear()
        splits = (*type(dataset)().training(), type(dataset)().test())
        assert torch.equal(state, torch.get_rng_state())
        return splits

    for first, second in zip(read(1), read(2), strict=True):
        assert torch.equal(first.inputs, second.inputs) and torch.equal(first.targets, second.targets)


def test_the_fingerprint_is_stable_and_short(dataset):
    assert dataset.fingerprint() == type(dataset)().fingerprint()
    assert len(dataset.fingerprint()) == 12 and int(dataset.fingerprint(), 16) >= 0


@pytest.mark.parametrize("name", sorted(DATASETS))
def test_license_source_splits_and_checksums_are_stated(name):
    made = DATASETS[name]
    assert made.license and made.splits.count("/") >= 2 and made.source.startswith("http")
    for item in made.downloads:
        assert item.digest.startswith(("md5:", "sha256:")) and item.size_bytes > 0 and item.url.startswith("http")


def test_a_seal_blocks_the_test_split_and_only_while_it_lasts(dataset):
    with sealed():
        with pytest.raises(PermissionError, match="sealed"):
            dataset.test()
        dataset.training()
    assert len(dataset.test().inputs) > 0


def test_seals_nest_and_open_again_after_an_error():
    with pytest.raises(RuntimeError), sealed(), sealed():
        raise RuntimeError
    Counting().test()
    with sealed():
        with sealed():
            pass
        with pytest.raises(PermissionError):
            Counting().test()


def test_a_thread_started_under_a_seal_is_sealed():
    errors = []

    def read():
        try:
            Counting().test()
        except PermissionError as error:
            errors.append(error)

    with sealed():
        thread = threading.Thread(target=read)
        thread.start()
        thread.join()
    assert len(errors) == 1


@pytest.mark.parametrize("name", sorted(DATASETS))
def test_training_never_builds_the_test_split(name, monkeypatch):
    def refuse(self):
        raise AssertionError("training() built the test split")

    present(name)
    monkeypatch.setattr(DATASETS[name], "read_test", refuse)
    DATASETS[name]().training()
    with pytest.raises(AssertionError):  # the check itself can fail
        DATASETS[name]().test()


def test_digits_are_split_into_1200_237_and_360():
    train, validation = Digits().training()
    assert [len(split.inputs) for split in (train, validation, Digits().test())] == [1200, 237, 360]
    assert train.inputs.dtype == torch.float32


def test_no_image_is_in_two_splits_of_digits():
    splits = (*Digits().training(), Digits().test())
    images = [{image.numpy().tobytes() for image in split.inputs} for split in splits]
    assert len(images[0] | images[1] | images[2]) == sum(len(split) for split in images)


def test_the_splits_of_digits_hold_every_image_once():
    splits = (*Digits().training(), Digits().test())
    classes = torch.cat([split.targets for split in splits])
    assert torch.equal(torch.bincount(classes), torch.from_numpy(np.bincount(load_digits().target)))


def test_every_split_of_digits_is_balanced_like_the_whole():
    whole = np.bincount(load_digits().target)
    for split in (*Digits().training(), Digits().test()):
        expected = whole * len(split.targets) / whole.sum()
        assert np.abs(np.bincount(split.targets, minlength=10) - expected).max() <= 1.0


def test_digits_are_standardised_by_the_training_pixels_only():
    train, validation = Digits().training()
    assert abs(train.inputs.mean().item()) < 1e-5
    assert abs(train.inputs.std(correction=0).item() - 1) < 1e-5
    assert abs(validation.inputs.mean().item()) > 1e-4


def test_digits_are_the_images_that_scikit_learn_ships():
    assert Digits().fingerprint() == "65e5b4619795"


def test_targets_of_topics_are_the_bytes_that_follow():
    for split in (*Topics().training(), Topics().test()):
        assert torch.equal(split.inputs[:, 1:], split.targets[:, :-1])
        assert torch.equal(split.inputs[1:, 0], split.targets[:-1, -1])


def test_the_parts_of_topics_are_contiguous_and_do_not_overlap():
    text = Topics().raw()
    train, validation = Topics().training()
    for split, start in ((train, 0), (validation, int(0.8 * len(text))), (Topics().test(), int(0.9 * len(text)))):
        read = bytes(split.inputs.flatten().tolist()) + bytes([split.targets[-1, -1].item()])
        assert text[start : start + len(read)] == read
        assert len(text) * (0.8 if start == 0 else 0.1) - len(read) < 32 + 2


def shared(text, length=64):
    """Return the fraction of the last tenth's strings of this length that occur in the first eight tenths."""
    train, test = text[: int(0.8 * len(text))], text[int(0.9 * len(text)) :]
    seen = {train[start : start + length] for start in range(len(train) - length)}
    return sum(test[start : start + length] in seen for start in range(len(test) - length)) / len(test)


def test_hardly_any_test_text_of_topics_is_training_text():
    assert shared(Topics().raw()) < 0.005
    assert shared("".join(topics[key] for key in sorted(topics)).encode()) > 0.05  # with the repetitions left in


def test_the_raw_text_is_every_paragraph_of_the_help_topics_once():
    text = Topics().raw().decode()
    assert text.startswith(topics[min(topics)].split("\n\n")[0])
    paragraphs = [" ".join(paragraph.split()) for paragraph in text.split("\n\n")]
    every = {" ".join(paragraph.split()) for topic in topics.values() for paragraph in topic.split("\n\n")}
    assert len(paragraphs) == len(set(paragraphs)) and set(paragraphs) == every - {""}


def test_context_sets_the_length_of_a_window():
    assert Topics(context=48).training()[0].inputs.shape[1] == 48


def test_evaluation_windows_are_limited_and_evenly_spaced():
    every, few = Topics().training()[1], Topics(eval_windows=10).training()[1]
    chosen = [index * len(every.inputs) // 10 for index in range(10)]
    assert torch.equal(few.inputs, every.inputs[chosen]) and torch.equal(few.targets, every.targets[chosen])
    assert len(Topics(eval_windows=10).test().inputs) == 10
    assert len(Topics(eval_windows=10**6).test().inputs) == len(Topics().test().inputs)


@pytest.mark.parametrize("options", [{"context": 0}, {"context": 10**5}, {"eval_windows": 0}])
def test_an_option_out_of_range_is_named_with_what_is_allowed(options):
    (name, value), *_ = options.items()
    with pytest.raises(ValueError, match=f"{name}={value}: expected "):
        Topics(**options)


def test_tiny_shakespeare_is_cut_as_everywhere_and_the_last_tenth_is_halved():
    data = present("shakespeare")
    train, validation = data.training()
    test = data.test()
    assert len(data.raw()) == 1_115_394 and data.spec().num_classes == 65
    assert [len(split.inputs) for split in (train, validation, test)] == [3921, 217, 217]
    assert data.fingerprint() == "86c4e6aa9db7"
    alphabet = sorted(set(data.raw()))
    start = "".join(chr(alphabet[token]) for token in train.inputs[0, :14])
    assert start == "First Citizen:" and torch.equal(train.inputs[:, 1:], train.targets[:, :-1])
