"""Official sizes without memory; decoding in cores; a field's regions."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch", reason="the generator's extra: pip install -e '.[pixal3d]'")

from direct3d_s2.networks import RELEASES, build_network  # noqa: E402
from direct3d_s2.sdf import SparseSdf, halved  # noqa: E402
from direct3d_s2.sdf_vae import SdfDecoder, SdfDecoderConfig  # noqa: E402
from sparse3d.errors import BadConfiguration  # noqa: E402
from sparse3d.voxels import Voxels  # noqa: E402
from support import ROOT  # noqa: E402
from support.parity.fixture import digest_of_names  # noqa: E402

# Names and shapes of the public code at the released sizes (`make_fixtures.py`).
OFFICIAL = dict(
    line.split(": ", 1)
    for line in (ROOT / "tests/data/direct3d/official_names.txt").read_text().splitlines()
)


@pytest.mark.parametrize("part", OFFICIAL)
def test_official_sizes_have_the_names_and_shapes_of_the_public_code(part: str) -> None:
    release, name = part.split()
    spec = RELEASES[release][name]
    with torch.device("meta"):
        network = build_network(spec.kind, spec.arguments)
    assert digest_of_names(network) == OFFICIAL[part]


def test_finer_parts_differ_from_the_coarse_ones_in_their_grid_alone() -> None:
    for release in RELEASES.values():
        for coarse, fine in (("sparse_dit_512", "sparse_dit_1024"),
                             ("sdf_decoder_512", "sdf_decoder_1024")):  # fmt: skip
            a, b = (dict(release[n].arguments) for n in (coarse, fine))
            differing = {k for k in a.keys() | b.keys() if a.get(k) != b.get(k)}
            assert differing <= {"resolution", "factor", "topk", "chunk_size"}


def test_a_configuration_of_another_network_is_refused() -> None:
    arguments = dict(RELEASES["v1.1"]["sparse_dit_512"].arguments)
    for wrong, reason in (
        ({"pe_mode": "rope"}, "pe_mode is 'rope'"),
        ({"compression_version": "v3"}, "compression_version is 'v3'"),
        ({"selection_block_size": 7}, "no multiple"),
    ):
        with pytest.raises(BadConfiguration, match=reason):
            build_network("SparseDiT", arguments | wrong)
    with pytest.raises(BadConfiguration, match="unknown network class 'Other'"):
        build_network("Other", {})
    del arguments["model_channels"]
    with pytest.raises(BadConfiguration, match="lacks 'model_channels'"):
        build_network("SparseDiT", arguments)


def test_decoding_in_cores_gives_the_values_of_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    decoder = SdfDecoder(SdfDecoderConfig(12, 4, width=32, blocks=1, heads=2, window=4)).eval()
    with torch.no_grad():
        for parameter in decoder.parameters():
            parameter.copy_(torch.randn(parameter.shape) / max(1, parameter[0].numel()) ** 0.5)
    random = torch.Generator().manual_seed(1)
    codes = torch.randperm(12**3, generator=random)[:60].sort().values
    coords = torch.stack([codes * 0, codes // 144, codes // 12 % 12, codes % 12], 1).int()
    latent = torch.randn(60, 4, generator=random)
    with torch.inference_mode():
        whole = decoder(latent, Voxels(coords), with_features=True)
        monkeypatch.setattr("direct3d_s2.sdf_vae.CORE", 4)
        cores = decoder(latent, Voxels(coords), with_features=True)
    assert whole.values.std() > 0.1
    torch.testing.assert_close(cores.values, whole.values, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(cores.features, whole.features, atol=1e-5, rtol=1e-5)


def test_regions_of_a_field_are_cut_from_the_whole() -> None:
    random = torch.Generator().manual_seed(2)
    cubes = torch.tensor([[0, 0, 0], [1, 0, 2], [2, 2, 1]])
    values = torch.rand(3, 8, 8, 8, generator=random)
    sdf = SparseSdf(cubes, values, 24, inside=torch.rand(12, 12, 12, generator=random) < 0.5)
    whole = sdf.region((0, 0, 0), (24, 24, 24))
    assert whole[8 + 3, 5, 16 + 7] == values[1, 3, 5, 7]
    assert whole[23, 0, 0] == (-1 if sdf.inside[11, 0, 0] else 1)
    assert torch.equal(sdf.region((3, 9, 0), (17, 20, 11)), whole[3:17, 9:20, 0:11])
    small = halved(SparseSdf(cubes, values, 24)).region((0, 0, 0), (12, 12, 12))
    assert small[0, 0, 0].item() == pytest.approx(values[0, :2, :2, :2].sum().item() / 9)
    assert small[11, 0, 0] == 1
