"""Fixtures for all tests: golden values of the reference implementations, where they lie beside the checkout."""

import fnmatch
import importlib.util
import os
import sys
import zlib
from contextlib import contextmanager
from copy import deepcopy
from pathlib import Path

import numpy as np
import pytest
import torch

from keyshift.adapt.methods.ssa import SSA, Moments
from keyshift.datasets.depth.crop import cube_box
from keyshift.datasets.sample import Item, Labeled
from keyshift.datasets.skeleton import Skeleton

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
CPU = torch.device("cpu")
torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "2")))


class Golden:
    """Readers and generators of the recipe in golden/README.md."""

    seed = 1

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def load(self, name):
        return np.load(self.folder / f"{name}.npz")

    def keys(self, name):
        lines = (self.folder / f"{name}.keys.txt").read_text().splitlines()[2:]
        return [
            (key, tuple(int(n) for n in shape.strip("()").split(",") if n))
            for key, shape, _ in (line.split("\t") for line in lines)
        ]

    def draw(self, name):
        return np.random.RandomState((zlib.crc32(name.encode()) ^ self.seed) & 0xFFFFFFFF)

    def weight(self, key, shape, factors):
        leaf = key.rsplit(".", 1)[-1]
        if leaf == "num_batches_tracked":
            return torch.zeros(shape, dtype=torch.int64)
        n = self.draw(key).standard_normal(shape)
        if leaf == "running_mean":
            w = 0.1 * n
        elif leaf == "running_var":
            w = 1 + 0.1 * np.abs(n)
        elif len(shape) >= 2:
            w = n * np.sqrt(2.0 / np.prod(shape[1:]))
        elif leaf.endswith("bias"):
            w = 0.1 * n
        else:
            w = 1 + 0.1 * n
        factor = next((f for pattern, f in factors if fnmatch.fnmatchcase(key, pattern)), 1.0)
        return torch.from_numpy(np.asarray(w * factor).astype(np.float32))

    def weights(self, name, factors):
        return {key: self.weight(key, shape, factors) for key, shape in self.keys(name)}

    def uniform(self, name, shape):
        return self.draw(name).random_sample(shape)

    def normal(self, name, shape, scale=1.0):
        return torch.from_numpy((scale * self.draw(name).standard_normal(shape)).astype(np.float32))

    def texture(self, name, shape):
        b, c, h, w = shape
        coarse = self.draw(name + ".coarse").standard_normal((b, c, -(-h // 8), -(-w // 8)))
        coarse = coarse.repeat(8, axis=2).repeat(8, axis=3)[:, :, :h, :w]
        fine = self.draw(name + ".fine").standard_normal(shape)
        return torch.from_numpy((0.7 * coarse + 0.7 * fine).astype(np.float32))

    def compare(self, arrays, name, value):
        """`value` against the array `name` by the rule of the recipe."""
        value = value.detach().double().numpy()
        wanted = arrays[name].astype(np.float64)
        noise = arrays[f"{name}.noise"][0] if f"{name}.noise" in arrays.files else 0.0
        limit = 20 * noise + 2e-6 * np.abs(wanted).max()
        if f"{name}.shape" in arrays.files:
            assert tuple(arrays[f"{name}.shape"]) == value.shape
            mean, _, low, high = arrays[f"{name}.stats"]
            assert np.abs([value.mean() - mean, value.min() - low, value.max() - high]).max() <= limit
            value = value[tuple(slice(None, None, int(step)) for step in arrays[f"{name}.step"])]
        assert value.shape == wanted.shape
        assert np.abs(value - wanted).max() <= limit, f"{name}: off by {np.abs(value - wanted).max():.2e} > {limit:.2e}"


@pytest.fixture(scope="session")
def shared():
    folder = Path(os.environ.get("KEYSHIFT_SHARED", Path(__file__).parents[2] / "shared"))
    if not folder.is_dir():
        pytest.skip("the shared reference values are not beside this checkout")
    return folder


@pytest.fixture(scope="session")
def golden(shared):
    return Golden(shared / "golden")


class Dots:
    """A dataset that takes milliseconds: three coloured dots on a noisy ground. The second style swaps contrast and
    tints the ground, so that a network trained on the first one fails on it."""

    skeleton = Skeleton("dots", ("red", "green", "blue"), edges=((0, 1), (1, 2)), groups={"all": (0, 1, 2)})

    def __init__(self, count=64, style="plain", size=32, first=0):
        self.count, self.style, self.size, self.first = count, style, size, first
        self.name = f"dots.{style}"
        self.identity = {"name": self.name, "count": count, "size": size, "first": first}

    def __len__(self):
        return self.count

    def __getitem__(self, index):
        if not 0 <= index < self.count:
            raise IndexError(index)
        number = self.first + index
        rng = np.random.default_rng([number, 7])
        points = rng.uniform(0.2, 0.8, (3, 2)) * self.size
        shifted = self.style == "shifted"
        image = rng.uniform(0, 60, (self.size, self.size, 3)) + (
            np.array([90, 60, 30]) * rng.random() if shifted else 0
        )
        yy, xx = np.mgrid[: self.size, : self.size] + 0.5
        for k, (x, y) in enumerate(points):
            spot = np.exp(-((xx - x) ** 2 + (yy - y) ** 2) / 8)[..., None]
            image = image * (1 - spot) + spot * np.eye(3)[k] * (150 if shifted else 255)
        known = np.ones(3, bool)
        return Item(
            image=image.clip(0, 255).astype(np.uint8),
            box=np.array([0, 0, self.size, self.size], np.float32),
            id=f"{self.name}/{number}",
            sequence=f"block{number // 8}",
            frame=number,
            camera=np.zeros(4, np.float32),
            keypoints=points,
            visible=known,
            annotated=known,
        )


@pytest.fixture(scope="session")
def dots():
    return Dots


class Balls:
    """Depth that takes milliseconds: balls of three sizes before a wall. The second style is a coarse sensor."""

    skeleton = Skeleton("balls", ("small", "middle", "large"), edges=((0, 1), (1, 2)), groups={"all": (0, 1, 2)})

    def __init__(self, count=64, style="plain", size=32, first=0):
        self.count, self.style, self.size, self.first = count, style, size, first
        self.name = f"balls.{style}"
        self.identity = {"name": self.name, "count": count, "size": size, "first": first}

    def __len__(self):
        return self.count

    def __getitem__(self, index):
        if not 0 <= index < self.count:
            raise IndexError(index)
        number, size = self.first + index, self.size
        rng = np.random.default_rng([number, 11])
        camera = np.array([2.0 * size, 2.0 * size, size / 2, size / 2])
        far = 600.0
        points = np.concatenate([rng.uniform(-90, 90, (3, 2)), far + rng.uniform(-60, 60, (3, 1))], 1)
        depth = np.full((size, size), far + 200.0)
        v, u = np.mgrid[:size, :size] + 0.5
        for radius, (x, y, z) in zip((12, 22, 34), points, strict=True):
            away = np.hypot((u - size / 2) / camera[0] * z - x, (v - size / 2) / camera[1] * z - y)
            front = z - np.sqrt(np.maximum(radius**2 - away**2, 0))
            depth = np.where((away < radius) & (front < depth), front, depth)
        if self.style == "shifted":
            depth = 25 * np.round((depth + 12 * rng.standard_normal(depth.shape)) / 25) + 15
            depth = np.where(rng.random(depth.shape) < 0.25, 0, depth)
        known = np.ones(3, bool)
        pixels = points[:, :2] / points[:, 2:] * camera[:2] + camera[2:]
        cube, center = np.full(3, 300.0), np.array([size / 2, size / 2, far])
        return Item(
            image=depth.astype(np.float32),
            box=cube_box(center, cube, camera),
            id=f"{self.name}/{number}",
            sequence=f"block{number // 8}",
            frame=number,
            camera=camera,
            keypoints=np.concatenate([pixels, points[:, 2:]], 1),
            visible=known,
            annotated=known,
            points=points,
            center=center,
            cube=cube,
        )


@pytest.fixture
def balls():
    return Balls


def module_beside(name):
    """The file of that name in this folder, as a module."""
    spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def toys():
    """The module toys.py: small systems, datasets and strategies, as users would add them."""
    return module_beside("toys")


@pytest.fixture
def shallow(toys, monkeypatch):
    """The backbone `small` has three layers: for tests of what stands above it that would wait for it."""
    monkeypatch.setattr("keyshift.models.parts.backbones.SmallResNet", toys.Shallow)


@pytest.fixture(scope="session")
def every():
    """The module every.py: each system of the registry in its smallest form, and a batch for it."""
    return module_beside("every")


def pytest_collection_modifyitems(items):
    """Tests that need a GPU (pytest -m gpu) are skipped where there is none."""
    if not torch.cuda.is_available():
        for item in items:
            if item.get_closest_marker("gpu"):
                item.add_marker(pytest.mark.skip(reason="torch sees no GPU of CUDA here"))


class Cuda:
    """A GPU, with what `Card` of card.py has."""

    device = torch.device("cuda")
    same_draws = False

    @contextmanager
    def quiet(self):
        torch.cuda.set_sync_debug_mode("error")
        try:
            yield
        finally:
            torch.cuda.set_sync_debug_mode("default")


@pytest.fixture(scope="session")
def pretended():
    """The module card.py: a card that computes on the CPU."""
    return module_beside("card")


@pytest.fixture(params=["card", pytest.param("cuda", marks=pytest.mark.gpu)])
def card(request, pretended):
    """A card that computes on the CPU, and a GPU where there is one."""
    if request.param == "card":
        with pretended.Card() as made:
            yield made
        return
    exact = torch.backends.cudnn.allow_tf32, torch.backends.cudnn.deterministic
    torch.backends.cudnn.allow_tf32, torch.backends.cudnn.deterministic = False, True
    yield Cuda()
    torch.backends.cudnn.allow_tf32, torch.backends.cudnn.deterministic = exact


@pytest.fixture(scope="session")
def walkers():
    """The module walkers.py: 2D sequences of people whose bones swing, seen by two cameras."""
    return module_beside("walkers")


@pytest.fixture(scope="session")
def persons(toys):
    """Persons(count, style, first) before a camera, as the toys have them."""

    class Counted(toys.Persons):
        def __init__(self, count=64, style="plain", first=0):
            super().__init__(toys.Persons.Options(train=count), "train", style)
            self.first, self.name = first, f"persons.{style}.train"
            self.identity |= {"name": self.name, "first": first}

    return Counted


@pytest.fixture
def registered(toys, monkeypatch):
    """The same, with a line for each in its registry."""
    toys.register(monkeypatch.setitem)
    return toys


@pytest.fixture(scope="session")
def two_updates():
    """`two_updates(strategy, data, size, augmentation)` makes two updates in half precision and says which tensors of
    the predictor changed, and by which optimisers. Everything stays finite. `data` is that of source and target."""
    from lightning_fabric import Fabric

    from keyshift.adapt.scoring.evaluation import everyone
    from keyshift.adapt.trainer import updates
    from keyshift.datasets.loading import TrainingBatches

    def make(strategy, data, size, augmentation):
        labels = {"source": True, "target": strategy.labelled_target}
        batches = {
            d: TrainingBatches(data[d], d, 0, 4, size, augmentation, labels[d], strategy.views[d])
            for d in ("source", "target")
        }
        before = {key: value.clone() for key, value in strategy.predictor.state_dict().items()}
        strategy.begin_round(everyone(strategy.predictor, data["target"], 8, size, augmentation, CPU))
        fabric, optimizers = Fabric(accelerator="cpu", devices=1, precision="bf16-mixed"), strategy.optimizers()
        for step in range(2):
            for losses in updates(fabric, strategy, optimizers, batches["source"][step], batches["target"][step]):
                assert all(loss.isfinite() for loss in losses.values()), losses
        after = strategy.predictor.state_dict()
        assert all(value.isfinite().all() for value in after.values())
        return {key for key in before if not torch.equal(before[key], after[key])}, optimizers

    return make


class ToyShift:
    """Plain dots are the source, shifted dots the target, both drawn once. `start` is a small network that learned the
    source and fails on the target; adaptation goes on with the source batches that come next."""

    learned = 80

    def __init__(self, toys):
        from keyshift.adapt.methods.baselines import SourceOnly
        from keyshift.datasets.augment import Augmentation
        from keyshift.datasets.loading import EvaluationBatches

        self.cut, self.drawn = ((32, 32), Augmentation(rotation=20)), {}
        self.test = EvaluationBatches(Dots(64, "shifted", first=1000), 64, (32, 32))[0]
        torch.manual_seed(0)
        model = toys.TopDown(3, toys.TopDown.Options(channels=8, sigma=1.0))
        self.start = self.adapt(SourceOnly, model=model, first=0, updates=self.learned).predictor

    def batch(self, step, domain, labels, views):
        from keyshift.datasets.loading import TrainingBatches

        key = step, domain, labels, views
        if key not in self.drawn:
            data = Dots(64, "plain" if domain == "source" else "shifted")
            self.drawn[key] = TrainingBatches(data, domain, 0, 8, *self.cut, labels, views)[step]
        return self.drawn[key]

    def adapt(self, kind, options=None, updates=40, rate=1e-2, batch_norm="target", model=None, first=learned):
        """The strategy after `updates`, from a copy of `start` unless another model is given."""
        from keyshift.adapt.scoring.evaluation import everyone
        from keyshift.adapt.strategy import Optimization

        torch.manual_seed(0)
        model, optimization = deepcopy(model or self.start), Optimization("adam", rate, {}, 0.0, gamma=0.0)
        strategy = kind(model, Dots.skeleton, optimization, batch_norm, options).train()
        optimizers, length = strategy.optimizers(), strategy.round_length()
        for step in range(updates):
            if length and step % length == 0:
                strategy.begin_round(everyone(strategy.predictor, Dots(64, "shifted"), 64, *self.cut, CPU))
            needed = {d: d == "source" or strategy.labelled_target for d in strategy.needs}
            batches = {d: self.batch(first + step, d, labels, strategy.views[d]) for d, labels in needed.items()}
            update(strategy, batches.get("source"), batches.get("target"), optimizers)
        return strategy

    def pck(self, kind, options=None, **more):
        """What `adapt` reaches on new pictures of the target, PCK at a tenth of the side."""
        from keyshift.adapt.scoring.evaluation import predict, scores

        model = self.adapt(kind, options, **more).predictor
        return scores(predict(model, [self.test], CPU), Dots.skeleton, 0.1)["pck"]


@pytest.fixture(scope="session")
def toy_shift(toys):
    """pck(strategy's class, options): how well the strategy adapts in a second; the network learns its source once."""
    return ToyShift(toys)


@pytest.fixture
def labeled():
    """make(images (B, 3, H, W), keypoints (B, K, 2)) -> Labeled with everything else plain."""

    def make(image, keypoints, annotated=None):
        count = len(image)
        known = torch.ones(keypoints.shape[:2], dtype=torch.bool) if annotated is None else annotated
        return Labeled(
            inputs={"image": image},
            id=tuple(str(i) for i in range(count)),
            sequence=("",) * count,
            frame=torch.arange(count),
            camera=torch.zeros(count, 4),
            to_file=torch.eye(3)[:2].repeat(count, 1, 1),
            side=torch.full((count,), float(image.shape[-1])),
            keypoints=keypoints,
            visible=known,
            annotated=known,
            image_index=torch.arange(count),
        )

    return make


@pytest.fixture
def augmentation():
    from keyshift.datasets.augment import Augmentation

    return Augmentation(rotation=20)


@pytest.fixture
def batches(augmentation):
    """make(kind, strategy, style, domain) -> batches of 8 from 64 samples, as the trainer makes them for `strategy`."""
    from keyshift.datasets.loading import TrainingBatches

    def make(kind, strategy, style, domain):
        labels = domain == "source" or strategy.labelled_target
        return TrainingBatches(kind(64, style), domain, 0, 8, (32, 32), augmentation, labels, strategy.views[domain])

    return make


def update(strategy, source, target, optimizers):
    """One iteration; gives the names of what each step updated."""
    seen = []
    for losses, names in strategy.step(source, target):
        for loss in losses.values():
            assert loss.shape == ()
            assert loss.isfinite()
        strategy.zero_grad()
        sum(losses.values()).backward()
        for name in names:
            optimizers[name][0].step()
        seen.append(names)
    strategy.draw_back()
    strategy.after_step()
    return seen


@pytest.fixture
def iterate():
    """`update`."""
    return update


@pytest.fixture(autouse=True)
def source_is_known(monkeypatch):
    """SSA has statistics of a source, of which there is none in most tests: unit features, unless a file is named."""
    begin = SSA.__init__

    def known(strategy, *args, **kwargs):
        begin(strategy, *args, **kwargs)
        if strategy.options.statistics is None:
            channels = len(strategy.mean)
            strategy.know(Moments(torch.zeros(channels), torch.eye(channels)))

    monkeypatch.setattr(SSA, "__init__", known)
