"""The figure of a run's log."""

import pytest
from PIL import Image

from supersam.errors import MissingError
from supersam.train.curves import draw, points

HEADER = "step,seconds,images,images_per_s,resolution,learning_rate,gradient_norm,loss,largest,smallest,random\n"


def test_uniform_steps_and_sandwiches_share_a_figure(tmp_path):
    uniform = "".join(f"{step},1,2,3.0,64,0.001,1.0,{2 - step / 100},,,\n" for step in range(10, 50, 10))
    sandwich = "".join(f"{step},1,2,3.0,64,0.001,1.0,1.5,1.4,1.6,1.5\n" for step in range(50, 90, 10))
    (tmp_path / "log.csv").write_text(HEADER + uniform + sandwich)

    with Image.open(draw(tmp_path)) as figure:
        assert figure.size[0] > 600
        colours = {colour for _, colour in figure.convert("RGB").getcolors(1_000_000)}
    assert {(0, 114, 178), (213, 94, 0)} <= colours  # the lines of the largest and of the smallest


def test_the_mean_of_a_sandwich_is_left_to_its_parts_and_other_steps_are_drawn():
    rows = [{"step": "1", "loss": "0.5", "largest": ""}, {"step": "2", "loss": "0.4", "largest": "0.3"}]

    assert points(rows, "loss") == ([1], [0.5])
    assert points(rows, "largest") == ([2], [0.3])


@pytest.mark.parametrize(
    ("folder", "content", "todo"),
    [("never", None, "train first"), (".", None, "not written a row yet"), (".", HEADER, "has no rows yet")],
)
def test_without_rows_one_line_says_what_to_do(tmp_path, folder, content, todo):
    if content is not None:
        (tmp_path / "log.csv").write_text(content)

    with pytest.raises(MissingError, match=rf"log\.csv.*{todo}"):
        draw(tmp_path / folder)
