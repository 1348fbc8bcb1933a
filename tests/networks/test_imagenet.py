import pytest

from dreamer.errors import UsageError
from dreamer.networks import imagenet


def test_the_names_are_torchvision_s_in_index_order() -> None:
    from torchvision.models import ResNet18_Weights

    categories = ResNet18_Weights.IMAGENET1K_V1.meta["categories"]
    assert list(imagenet.names()) == categories


@pytest.mark.parametrize(
    ("text", "index"),
    [
        ("zebra", 340),
        ("340", 340),
        (340, 340),
        ("great white shark", 2),
        ("great_white_shark", 2),
        ("Great-White-Shark", 2),
        ("jack o lantern", 607),
        (" tabby ", 281),
        ("0", 0),
        ("999", 999),
    ],
)
def test_a_class_is_found_by_index_or_by_name_however_written(text: str | int, index: int) -> None:
    assert imagenet.index(text) == index


def test_every_name_finds_its_own_index() -> None:
    assert [imagenet.index(name) for name in imagenet.names()] == list(range(imagenet.COUNT))
    assert [imagenet.name(index) for index in range(imagenet.COUNT)] == list(imagenet.names())


def test_names_that_only_differ_in_case_are_told_apart_or_asked_about() -> None:
    assert imagenet.name(imagenet.index("Cardigan")) == "Cardigan"
    assert imagenet.name(imagenet.index("cardigan")) == "cardigan"
    with pytest.raises(UsageError) as caught:
        imagenet.index("CARDIGAN")
    assert "264" in caught.value.advice
    assert "474" in caught.value.advice


@pytest.mark.parametrize(
    ("text", "offer"),
    [("zebar", "zebra"), ("tabby cat", "tabby"), ("shark", "great white shark"), ("dgo", "")],
)
def test_an_unknown_class_is_answered_with_near_ones(text: str, offer: str) -> None:
    with pytest.raises(UsageError, match=text) as caught:
        imagenet.index(text)
    assert offer in caught.value.advice


@pytest.mark.parametrize("outside", ["1000", "-1", 1000, -1, "9" * 5000], ids=lambda v: str(v)[:9])
def test_an_index_outside_is_refused_with_the_range(outside: str | int) -> None:
    with pytest.raises(UsageError) as caught:
        imagenet.index(outside)
    assert "999" in caught.value.advice
