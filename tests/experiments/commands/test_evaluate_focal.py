"""Another focal length alone: k follows the camera, so that distances stay; the old k is off by the factor."""

import pytest
import torch
from torch import nn

from keyshift.adapt.scoring.evaluation import predict
from keyshift.datasets.loading import EvaluationBatches
from keyshift.datasets.rendered.people import Options, RenderedPeople
from keyshift.datasets.views import InSpace, Selected
from keyshift.experiments.cli import main
from keyshift.experiments.commands.evaluate_focal import Refocused, errors_of
from keyshift.models.systems.root_net import RootNet

SIZE = (32, 32)


@pytest.fixture
def people(tmp_path):
    options = Options(train=1, test=4, size=96)
    return Selected(RenderedPeople("lab", options, "test", cache=tmp_path), ("pelvis",))


class Knows(RootNet):
    """Sees the distance in shares of k: the same picture of a person always has the same."""

    def __init__(self, gammas):
        super().__init__(1, RootNet.Options(backbone="small", input_size=list(SIZE), channels=8))
        self.gammas = gammas

    def features(self, sample):
        self.rows = sample.row
        return super().features(sample)

    def votes(self, features, sample, head=None):
        def said(maps):
            plane, _ = self.head(maps)
            return plane, self.gammas[self.rows, None]

        return super().votes(features, sample, nn.Module() if head else said)


@torch.no_grad()
def test_k_makes_up_for_another_focal_length(people):
    own = EvaluationBatches(InSpace(people, False), 16, SIZE)[0]
    gammas = own.points[:, 0, 2] / own.inputs["k"]
    model = Knows(gammas).eval()
    for factor in (0.7, 1.3):
        off = {}
        for said in (False, True):
            dataset = InSpace(Refocused(people, factor, said), False)
            batches = EvaluationBatches(dataset, 16, SIZE)
            predictions = predict(model, [batches[0]], torch.device("cpu"))
            off[said] = errors_of(predictions, dataset)[1] / float(own.points[:, 0, 2].mean())
        assert off[False] < 0.02
        assert off[True] == pytest.approx(abs(1 / factor - 1), abs=0.02)


@pytest.mark.parametrize("words", [["run", "--root", "other"], ["run", "--by", "sequence"], []])
def test_it_stands_alone(words, capsys):
    assert main(["evaluate", *words, "--refocus", "0.7,1"]) == 2
    assert "--refocus is of one run's test sets" in capsys.readouterr().err
