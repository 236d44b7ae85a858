"""A model that is asked: templates, prompts with pictures and films, stops, talks; and the verb."""

import json
import shutil
import weakref
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

import mlxworld
from mlxworld import MlxworldError, ask
from mlxworld.data.episodes.media import write_clip
from mlxworld.text import chat
from mlxworld.text.assistant import Assistant, Talk
from mlxworld.text.generate import Options
from mlxworld.text.prompt import prompt
from mlxworld.training import hooks
from tests.models.vision_language.oracle_vision import reference

ORACLES = Path(__file__).parents[1] / "oracles"
QWEN = (
    "{% for m in messages %}<s>{{ m['role'] }}\n{% if m['content'] is string %}{{ m['content'] }}{% else %}"
    "{% for part in m['content'] %}{% if part['type'] == 'text' %}{{ part['text'] }}{% else %}"
    "<|vision_start|><|{{ part['type'] }}_pad|><|vision_end|>{% endif %}{% endfor %}{% endif %}</s>\n{% endfor %}"
    "{% if add_generation_prompt %}<s>assistant\n{% endif %}"
)


def assistant(family: str, folder: Path | None = None, backend: str = "torch") -> Assistant:
    return Assistant.load(folder or ORACLES / family, mlxworld.on(backend), "float32")


@pytest.fixture(scope="module")
def qwen(tmp_path_factory) -> Path:
    """Qwen2-VL's folder with a template, and a picture and a film beside it."""
    folder = tmp_path_factory.mktemp("qwen") / "model"
    shutil.copytree(ORACLES / "qwen2_vl", folder)
    (folder / "chat_template.json").write_text(json.dumps({"chat_template": QWEN}))
    Image.fromarray(reference("qwen2_vl")["image.0"]).save(folder.parent / "a.png")
    frames = np.random.default_rng(0).integers(0, 256, (8, 64, 96, 3), dtype=np.uint8)
    write_clip(folder.parent / "film.mp4", frames, np.zeros((8, 800), np.float32), 10, 8000)
    return folder


def test_pictures_and_films_take_their_places(qwen):
    """Of the template: start, the picture's tokens, end; positions of three numbers; the film after the picture."""
    it = assistant("qwen2_vl", qwen)
    picture, film = reference("qwen2_vl")["image.0"], np.zeros((4, 56, 84, 3), np.uint8)
    text = it.text([{"role": "user", "content": chat.parts("what?", ["image", "video"])}])
    places = [f"<|vision_start|><|{kind}_pad|><|vision_end|>" for kind in ("image", "video")]
    assert text == f"<s>user\n{places[0]}{places[1]}what?</s>\n<s>assistant\n"
    arrays, seen = it.read(text, [picture, film])
    assert seen is not None and seen.arrays is not None
    ids, (grid, moving) = arrays["ids"][0].tolist(), seen.layout
    n, m = np.prod(grid) // 4, np.prod(moving) // 4
    assert ids.count(300) == n and ids.count(301) == m and ids[0] == 1 and ids.count(1) == 2
    assert ids.index(300) == ids.index(302) + 1 and ids[ids.index(300) + n] == 303
    assert (arrays["feature"][0] >= 0).sum() == n + m and arrays["positions"].shape == (1, len(ids), 3)
    assert len(seen.arrays["pixels"]) == np.prod(grid) + np.prod(moving)
    with pytest.raises(MlxworldError, match="places for 2 pictures, and there are 1"):
        it.read(text, [picture])


@pytest.mark.parametrize("family", ["llava", "llava_next", "gemma3", "mllama", "nvlm_d"])
def test_a_picture_is_answered_about_by_the_plain_template(family):
    it, r = assistant(family), reference("llava")
    said = it.text([{"role": "user", "content": chat.parts("what?", ["image"])}])
    assert said.count(it.processor.placeholder) == 1 and said.rstrip().lower().endswith("assistant:")
    first, second = (it.generator.logits(*it.read(said, [r[f"image.{i}"]]))[0, -1] for i in (0, 1))
    assert np.abs(first - second).max() > 0.01  # it sees
    with pytest.raises(MlxworldError, match="films"):
        it.answer("what?", [np.zeros((2, 56, 56, 3), np.uint8)])


def test_a_stop_ends_an_answer_and_is_not_shown():
    it = assistant("phi3")
    whole = it.answer("a red ball", options=Options(40, (0,)))
    stop = whole[10:13]
    pieces = list(it.stream("a red ball", options=Options(40, (0,)), stop=[stop, "never"]))
    assert "".join(pieces) == whole[: whole.index(stop)]
    nearly = whole[5:8] + "never"  # its beginning is held back, and comes after all
    assert "".join(it.stream("a red ball", options=Options(40, (0,)), stop=[nearly])) == whole


def test_a_talk_goes_on():
    it, talk = assistant("phi3"), Talk()
    first = "".join(it.stream("a ball", options=Options(6, (0,)), talk=talk))
    "".join(it.stream("and then?", options=Options(6, (0,)), talk=talk))
    assert [m["role"] for m in talk.messages] == ["user", "assistant", "user", "assistant"]
    assert it.text(talk.messages[:3]) == f"User: a ball\nAssistant: {first}\nUser: and then?\nAssistant:"


def test_what_is_refused_is_no_part_of_a_talk_and_what_is_left_early_is():
    it, talk = assistant("phi3"), Talk()
    with pytest.raises(MlxworldError):
        list(it.stream("a ball", options=Options(500), talk=talk))
    assert talk.messages == []
    answer = it.stream("a ball", options=Options(20, (0,)), talk=talk)
    first = next(answer)
    answer.close()  # type: ignore[attr-defined]
    assert [m["role"] for m in talk.messages] == ["user", "assistant"]
    assert talk.messages[1]["content"] == chat.parts(first)


def test_a_prompt_that_is_too_long():
    it = assistant("phi3")
    with pytest.raises(MlxworldError, match=r"too long: \d+ tokens, and 500 to come; this model takes 512"):
        it.answer("a ball " * 20, options=Options(500))


def test_templates():
    assert chat.template(ORACLES / "phi3") is None
    talk = [{"role": "user", "content": "hi"}]
    assert chat.render("{{ bos_token }}{{ messages[0].content }}", talk, bos_token="<s>") == "<s>hi"
    assert chat.render("{% if tools is not none or documents is not none %}a tool{% endif %}", talk) == ""
    assert chat.render("a {%- generation %} {{ messages[0].content }} {%- endgeneration -%} b", talk) == "a hib"
    for source, said in (
        ("{{ raise_exception('no system') }}", "refuses this: no system"),
        ("{% if %}", "cannot be used"),
        ("{{ ''.__class__.__mro__ }}", "cannot be used"),  # no way out of the sandbox
        ("{{ messages.append(1) }}", "cannot be used"),
        ("{{ messages[0].content + 1 }}", "does not take these messages"),
    ):
        with pytest.raises(MlxworldError, match=said):
            chat.render(source, talk)


def run(capsys, *argv: str) -> str:
    ask.main([*argv, "--backend", "torch", "--precision", "float32", "--most", "8"])
    return capsys.readouterr().out


def test_the_verb_answers(qwen, capsys):
    picture, film = str(qwen.parent / "a.png"), str(qwen.parent / "film.mp4")
    words = run(capsys, "what?", "--model", str(qwen))
    seen = run(capsys, "what?", "--model", str(qwen), "--image", picture, "--video", film, "--fps", "5")
    beams = run(capsys, "what?", "--model", str(qwen), "--beams", "2")
    assert words.endswith("\n") and len(words) > 1 and words != seen and len(beams) > 1


def test_the_verb_talks(qwen, capsys, monkeypatch):
    said = iter(["what?", "and?", ""])
    monkeypatch.setattr("builtins.input", lambda prompt: next(said))
    out = run(capsys, "--model", str(qwen))
    assert len(out.encode()) > 10 and next(said, None) is None


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["--image", "nothing.png"], "nothing.png"),
        (["--video", "nothing.mp4"], "nothing.mp4"),
        (["--fps", "0"], "--fps positive"),
        (["--beams", "0"], "beams must be at least 1"),
        (["--stop", ""], "must not be empty"),
        (["--seed", "-1"], "seed must not be negative"),
        (["--page"], "--page takes no question"),
        (["--among", "a"], "--among takes no question"),
        (["--check", "--page"], "--check and --page are two uses"),
        (["--temperature", "-1"], "must not be negative"),
    ],
)
def test_what_the_verb_refuses(argv, said, qwen, capsys):
    with pytest.raises(MlxworldError, match=said):
        run(capsys, "what?", "--model", str(qwen), *argv)


def test_a_broken_picture_and_a_folder_of_another_kind(qwen, tmp_path, capsys):
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\nnothing")
    with pytest.raises(MlxworldError, match=r"a\.png"):
        run(capsys, "what?", "--model", str(qwen), "--image", str(tmp_path / "a.png"))
    with pytest.raises(MlxworldError, match="no model_type"):
        run(capsys, "what?", "--model", str(Path(mlxworld.__file__).parent / "worlds" / "pong"))
    with pytest.raises(MlxworldError, match="this model takes no pictures"):
        run(capsys, "what?", "--model", str(ORACLES / "phi3"), "--image", str(qwen.parent / "a.png"))


@pytest.mark.parametrize("backend", ["torch", "mlx"])
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_hooks_of_files_join_the_decoder(tmp_path, backend, precision):
    package = mlxworld.on(backend)
    plain = Assistant.load(ORACLES / "cohere", package, precision)
    hooked = plain.generator.model.hooked()
    hooks.add(package, hooked, "night", 4, "vision_language", seed=0, gate=4.0)
    hooks.save(package, hooked, tmp_path)
    hooked.remove_hook("night")
    rows = prompt([[1, 50, 60, 70]])
    first = plain.generator.logits(rows)
    other = Assistant.load(ORACLES / "cohere", package, precision, hooks=[tmp_path / "night.safetensors"])
    assert other.generator.model.decoder.opened == {"night": [0, 1, 2]}
    assert np.abs(other.generator.logits(rows) - first).max() > 1e-3
    assert len(other.generator.tokens(rows, None, Options(5))[0]) == 5


def test_a_hook_of_a_world_is_one_line(tmp_path):
    package = mlxworld.on("torch")
    made = Assistant.load(ORACLES / "cohere", package, "float32").generator.model.hooked()
    hooks.add(package, made, "night", 4, "openworld", seed=0)
    hooks.save(package, made, tmp_path)
    argv = ["--model", str(ORACLES / "cohere"), "--backend", "torch", "--hook", str(tmp_path / "night.safetensors")]
    with pytest.raises(MlxworldError, match=r"this hook fits .* of the family openworld, not"):
        ask.main([*argv, "hello"])


def test_a_long_film_is_seen_to_its_end_and_never_held_whole(monkeypatch):
    held: list[int] = [0]

    class Frame(np.ndarray):
        """Knows that it is held."""

    def frames(path, size, fps):
        for i in range(20_000):
            frame = np.full((2, 2, 3), i // 100, np.uint8).view(Frame)
            held.append(held[-1] + 1)
            weakref.finalize(frame, lambda: held.append(held[-1] - 1))
            yield SimpleNamespace(picture=frame)

    monkeypatch.setattr(ask, "read_frames", frames)
    monkeypatch.setattr(ask, "require_whole", lambda path: None)
    film = ask.film(Path("film.mp4"), 2)
    assert len(film) == ask.FRAMES and max(held) <= 2 * ask.FRAMES + 2
    assert film[0, 0, 0, 0] == 0 and film[-1, 0, 0, 0] == 199  # to its end
    assert set(np.diff(film[:, 0, 0, 0].astype(int))) <= {0, 1}  # evenly


def test_idefics_pictures_side_by_side_share_a_mark(tmp_path):
    """As published: no space around a picture, and <fake> <image> <fake> <image> <fake> where two stand together."""
    folder = tmp_path / "idefics"
    shutil.copytree(ORACLES / "idefics", folder)
    said = json.loads((ORACLES / "llava" / "tokenizer.json").read_text())
    tokens = said["added_tokens"]
    next(token for token in tokens if token["content"] == "<image>")["content"] = "<another>"
    tokens += [{**tokens[-1], "id": 320, "content": "<fake_token_around_image>"}]
    tokens += [{**tokens[-1], "id": 321, "content": "<image>"}]
    (folder / "tokenizer.json").write_text(json.dumps(said))
    shutil.copy(ORACLES / "llava" / "tokenizer_config.json", folder)
    it, picture = assistant("idefics", folder), np.zeros((40, 40, 3), np.uint8)
    text = it.text([{"role": "user", "content": chat.parts("what?", ["image", "image"])}])
    assert text == "<s>User:<image><image>what?\nAssistant:"
    ids = it.read(text, [picture] * 2)[0]["ids"][0].tolist()
    fake, image = 320, 321
    begin = ids.index(fake)
    assert ids[0] == 1 and ids[begin : begin + 5] == [fake, image, fake, image, fake] and ids.count(fake) == 3
    apart = it.read("<image>, <image>", [picture] * 2)[0]["ids"][0].tolist()
    assert apart.count(fake) == 4


def test_mllama_without_a_template_begins_with_its_first_token():
    assert assistant("mllama").text([{"role": "user", "content": chat.parts("what?")}]).startswith("<s>User: what?")


PARTS = (  # as LLaVA's: it reads a message's parts, and marks what is trained on
    "{% for m in messages %}{{ m['role'].upper() + ': ' }}"
    "{% for p in m['content'] | selectattr('type', 'equalto', 'image') %}"
    "{{ '<image>\n' }}{% endfor %}{% for p in m['content'] | selectattr('type', 'equalto', 'text') %}"
    "{% if m['role'] == 'assistant' %}{% generation %}{{ p['text'] + ' ' }}{% endgeneration %}"
    "{% else %}{{ p['text'] + ' ' }}{% endif %}{% endfor %}{% endfor %}"
    "{% if add_generation_prompt %}ASSISTANT:{% endif %}"
)


def test_a_template_of_parts_says_a_question_without_a_picture():
    it = assistant("llava")
    it.template = PARTS
    asked = {"role": "user", "content": chat.parts("what?")}
    assert it.text([asked]) == "USER: what? ASSISTANT:"
    seen = {"role": "user", "content": chat.parts("what?", ["image"])}
    talk = [seen, {"role": "assistant", "content": chat.parts("a ball")}, asked]
    assert it.text(talk) == "USER: <image>\nwhat? ASSISTANT: a ball USER: what? ASSISTANT:"


def test_a_template_of_words_never_says_what_python_calls_a_part():
    it = assistant("llava")
    it.template = "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }} {% endfor %}"
    assert it.text([{"role": "user", "content": chat.parts("what?")}]) == "user: what? "
    assert it.text([{"role": "user", "content": chat.parts("what?", ["image"])}]) == "user: <image>\nwhat? "
