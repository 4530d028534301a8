"""What a data folder may look like: layouts, names, links, special files, archives, spans."""

from __future__ import annotations

import io
import os
import shutil
import socket
import tarfile
import threading
import zipfile
from pathlib import Path

import pytest
from ingest_samples import png, write_folder

from components.image_example_gen import archive, data, source
from components.image_example_gen.bundles import read_file
from components.image_example_gen.images import ImageRefusedError
from components.image_example_gen.settings import IngestSettings
from modules.errors import InputError

SETTINGS = IngestSettings()


def refused(listing: source.Listing) -> dict[str, str]:
    return {one.path: one.reason for one in listing.refused}


# --- layouts -----------------------------------------------------------------------------------------------


def test_files_at_any_depth_belong_to_the_class_folder(tmp_path: Path) -> None:
    write_folder(tmp_path, {"cat": 1, "cat/indoor/night": 2, "dog": 1})
    listing = source.list_source(str(tmp_path), SETTINGS)
    assert [(file.label, file.split) for file in listing.files] == [("cat", None)] * 3 + [("dog", None)]
    assert listing.files[1].path == "cat/indoor/night/00001.png"


@pytest.mark.parametrize("name", ["validation", "val", "valid", "eval", "VAL"])
def test_ready_splits_are_known_by_their_folders(tmp_path: Path, name: str) -> None:
    write_folder(tmp_path, {"train/a": 2, "train/b": 2, f"{name}/a": 1, "test/b": 1})
    listing = source.list_source(str(tmp_path), SETTINGS)
    assert listing.ready == ("train", "validation", "test")
    assert {file.split for file in listing.files} == {"train", "validation", "test"}
    assert listing.classes == ["a", "b"]


def test_splits_beside_another_class_are_classes(tmp_path: Path) -> None:
    write_folder(tmp_path, {"train/steam": 1, "plane": 1, "test": 1})
    listing = source.list_source(str(tmp_path), SETTINGS)
    assert listing.ready == ()
    assert listing.classes == ["plane", "test", "train"]


def test_train_and_test_that_hold_images_directly_are_classes(tmp_path: Path) -> None:
    write_folder(tmp_path, {"train": 1, "test": 1})
    assert source.list_source(str(tmp_path), SETTINGS).classes == ["test", "train"]


def test_hidden_and_system_files_and_files_beside_the_classes_are_ignored(tmp_path: Path) -> None:
    write_folder(tmp_path, {"a": 1, "b": 1, ".git": 1, "a/.thumbnails": 1, "a/@eaDir": 1, "__MACOSX": 1})
    for name in ("README.md", "a/.DS_Store", "a/Thumbs.db", "b/desktop.ini", "a/._x.png"):
        (tmp_path / name).write_bytes(b"x")
    listing = source.list_source(str(tmp_path), SETTINGS)
    assert [file.path for file in listing.files] == ["a/00000.png", "b/00001.png"]
    assert listing.ignored == {"hidden and system files": 8, "beside the class folders": 1}
    assert not listing.refused


def test_empty_class_folders_are_told(tmp_path: Path) -> None:
    write_folder(tmp_path, {"a": 1, "b": 1, "c": 0})
    listing = source.list_source(str(tmp_path), SETTINGS)
    assert (listing.classes, listing.empty_classes) == (["a", "b"], ["c"])


def test_classes_are_renamed_and_merged(tmp_path: Path) -> None:
    write_folder(tmp_path, {"Katze": 1, "kitten": 1, "Hund": 1})
    settings = IngestSettings(class_names={"Katze": "cat", "kitten": "cat"})
    assert source.list_source(str(tmp_path), settings).classes == ["Hund", "cat"]


# --- names -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["two words", " padded ", "🐕", "كلب", "new\nline", "-rf", "%s", "a'b\"c", "x" * 200]
)
def test_any_unicode_name_survives(tmp_path: Path, name: str) -> None:
    write_folder(tmp_path, {name: 1, "other": 1})
    listing = source.list_source(str(tmp_path), SETTINGS)
    assert name in listing.classes
    assert all(read_file(f"{tmp_path}/{file.path}", 10_000) for file in listing.files)


def test_decomposed_names_become_composed_and_unite_the_splits(tmp_path: Path) -> None:
    write_folder(tmp_path, {"train/caf\u00e9": 1, "train/b": 1, "test/cafe\u0301": 1})
    assert source.list_source(str(tmp_path), SETTINGS).classes == ["b", "caf\u00e9"]


def test_two_forms_of_one_name_side_by_side_are_refused(tmp_path: Path) -> None:
    write_folder(tmp_path, {"caf\u00e9": 1, "cafe\u0301": 1})
    with pytest.raises(InputError, match="another Unicode form; merge the two"):
        source.list_source(str(tmp_path), SETTINGS)


def test_a_class_name_that_is_no_utf8_is_refused_and_a_file_name_is_kept(tmp_path: Path) -> None:
    write_folder(tmp_path, {"a": 1, "b": 1})
    (tmp_path / os.fsdecode(b"a/caf\xe9.png")).write_bytes(png(7))
    listing = source.list_source(str(tmp_path), SETTINGS)
    odd = next(file.path for file in listing.files if "caf" in file.path)
    assert source.shown(odd) == "a/caf\\xe9.png"
    assert read_file(f"{tmp_path}/{odd}", 10_000) == png(7)
    (tmp_path / os.fsdecode(b"caf\xe9")).mkdir()
    with pytest.raises(InputError, match=r"caf\\xe9: a class folder's name must be UTF-8; rename"):
        source.list_source(str(tmp_path), SETTINGS)


# --- mistakes ----------------------------------------------------------------------------------------------


def test_mistakes_are_told_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x")
    (tmp_path / "empty").mkdir()
    write_folder(tmp_path / "flat", {"": 3})
    write_folder(tmp_path / "one", {"a": 3})
    write_folder(tmp_path / "hollow", {"a": 0, "b": 0})
    write_folder(tmp_path / "both", {"train/a": 1, "train/b": 1, "val/a": 1, "valid/a": 1})
    write_folder(tmp_path / "untrained", {"train/a": 0, "test/a": 1, "test/b": 1})
    for folder, message in {
        "missing": "no such folder",
        "file": "is no folder",
        "empty": "no class folders",
        "flat": "no class folders",
        "one": "only one class, 'a'",
        "hollow": "hold no files",
        "both": "both mean validation",
        "untrained": "train folder holds no images",
    }.items():
        with pytest.raises(InputError, match=message) as raised:
            source.list_source(str(tmp_path / folder), SETTINGS)
        assert str(tmp_path / folder) in str(raised.value)
        assert "\n" not in str(raised.value)


def test_classes_that_depart_from_the_frozen_vocabulary_are_refused(tmp_path: Path) -> None:
    write_folder(tmp_path, {"a": 1, "b": 1})
    assert source.list_source(str(tmp_path), IngestSettings(classes=("b", "a"))).classes == ["a", "b"]
    with pytest.raises(InputError, match=r"new \['b'\] missing \['c', 'd'\]"):
        source.list_source(str(tmp_path), IngestSettings(classes=("a", "c", "d")))


# --- links and special files -------------------------------------------------------------------------------


def test_links_within_the_folder_are_followed_and_those_that_lead_out_are_not(tmp_path: Path) -> None:
    root = write_folder(tmp_path / "data", {"a": 1, "b": 1})
    outside = write_folder(tmp_path / "outside", {"x": 1})
    (root / "a" / "inside.png").symlink_to(root / "b" / "00001.png")
    (root / "a" / "outside.png").symlink_to(outside / "x" / "00000.png")
    (root / "a" / "dangling.png").symlink_to(root / "nothing")
    (root / "c").symlink_to(outside / "x")
    listing = source.list_source(str(root), SETTINGS)
    assert "a/inside.png" in {file.path for file in listing.files}
    assert refused(listing) == {
        "a/outside.png": "outside-root",
        "a/dangling.png": "unreadable",
        "c": "outside-root",
    }

    followed = source.list_source(str(root), IngestSettings(follow_symlinks=True))
    assert {"a/outside.png", "c/00000.png"} < {file.path for file in followed.files}


def test_a_folder_beside_with_the_same_beginning_is_outside(tmp_path: Path) -> None:
    root = write_folder(tmp_path / "data", {"a": 1, "b": 1})
    write_folder(tmp_path / "data-private", {"x": 1})
    (root / "a" / "sneaky.png").symlink_to(tmp_path / "data-private" / "x" / "00000.png")
    assert refused(source.list_source(str(root), SETTINGS)) == {"a/sneaky.png": "outside-root"}


def test_circles_of_links_end(tmp_path: Path) -> None:
    root = write_folder(tmp_path / "data", {"a": 1, "b": 1, "b/deep": 1})
    (root / "a" / "up").symlink_to(root)
    (root / "b" / "deep" / "self").symlink_to(root / "b" / "deep")
    (root / "a" / "one").symlink_to(root / "a" / "two")
    (root / "a" / "two").symlink_to(root / "a" / "one")
    listing = source.list_source(str(root), SETTINGS)
    assert len(listing.files) == 3
    assert set(refused(listing)) == {"a/up", "b/deep/self", "a/one", "a/two"}


def test_special_files_are_refused_and_hang_nothing(tmp_path: Path) -> None:
    root = write_folder(tmp_path / "data", {"a": 1, "b": 1})
    os.mkfifo(root / "a" / "fifo.png")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(os.path.relpath(root / "b" / "socket.png"))
        listing = source.list_source(str(root), SETTINGS)
    (root / "b" / "device.png").symlink_to("/dev/zero")
    assert refused(listing) == {"a/fifo.png": "unreadable", "b/socket.png": "unreadable"}
    followed = source.list_source(str(root), IngestSettings(follow_symlinks=True))
    assert refused(followed)["b/device.png"] == "unreadable"


def test_a_file_that_becomes_a_fifo_after_it_was_listed_does_not_hang(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "late.png")
    caught: list[str] = []

    def read() -> None:
        with pytest.raises(ImageRefusedError) as raised:
            read_file(str(tmp_path / "late.png"), 1000)
        caught.append(raised.value.reason)

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    reader.join(timeout=10)
    assert caught == ["unreadable"]


def test_files_are_not_read_beyond_the_limit(tmp_path: Path) -> None:
    (tmp_path / "large.png").write_bytes(bytes(2000))
    with pytest.raises(ImageRefusedError) as raised:
        read_file(str(tmp_path / "large.png"), 1999)
    assert raised.value.reason == "too-large"
    with pytest.raises(ImageRefusedError) as raised:
        read_file(str(tmp_path / "gone.png"), 1999)
    assert raised.value.reason == "unreadable"


# --- fingerprint -------------------------------------------------------------------------------------------


def test_the_fingerprint_sees_every_change_and_nothing_else(tmp_path: Path) -> None:
    root = write_folder(tmp_path / "data", {"a": 2, "b": 2})

    def look() -> str:
        return source.fingerprint(source.list_source(str(root), SETTINGS))

    seen = [look()]
    assert look() == seen[0]
    (root / "a" / "00000.png").write_bytes(png(50))
    seen.append(look())
    os.utime(root / "a" / "00001.png", ns=(1, 1))
    seen.append(look())
    (root / "b" / "new.png").write_bytes(png(51))
    seen.append(look())
    (root / "b" / "new.png").rename(root / "a" / "new.png")
    seen.append(look())
    (root / "a" / "new.png").unlink()
    seen.append(look())
    assert len(set(seen[:5])) == 5
    assert seen[5] == seen[2]
    (root / "README").write_bytes(b"x")
    assert look() == seen[5]


# --- spans -------------------------------------------------------------------------------------------------


def test_the_latest_spans_and_their_latest_versions_are_read(tmp_path: Path) -> None:
    for span, version in ((1, 1), (2, 1), (2, 10), (2, 9), (10, 1)):
        write_folder(tmp_path / f"span-{span}" / f"v{version}", {"a": 1, "b": 1}, first=span * 100 + version)
    write_folder(tmp_path / "span-x" / "v1", {"a": 1})
    pattern = f"{tmp_path}/span-{{SPAN}}/v{{VERSION}}"
    data.check(pattern, SETTINGS)
    assert data.resolve(pattern, 1) == (str(tmp_path), ("span-10/v1",), 10, 1)
    assert data.resolve(pattern, 2) == (str(tmp_path), ("span-2/v10", "span-10/v1"), 10, 1)
    listing = data.list_data(data.resolve(pattern, 2), SETTINGS, "")
    assert [file.path for file in listing.files] == [
        "span-10/v1/a/01001.png",
        "span-10/v1/b/01002.png",
        "span-2/v10/a/00210.png",
        "span-2/v10/b/00211.png",
    ]
    assert listing.classes == ["a", "b"]


def test_the_newest_span_can_be_named(tmp_path: Path) -> None:
    for span in (1, 2, 10):
        write_folder(tmp_path / f"span-{span}", {"a": 1, "b": 1}, first=span * 100)
    pattern = f"{tmp_path}/span-{{SPAN}}"
    assert data.resolve(pattern, 1, newest=2) == (str(tmp_path), ("span-2",), 2, 0)
    assert data.resolve(pattern, 2, newest=2).parts == ("span-1", "span-2")
    with pytest.raises(InputError, match="there is no span 3; the latest are 1, 2, 10"):
        data.resolve(pattern, 1, newest=3)
    with pytest.raises(InputError, match=r"span 3 is asked for, but .* holds no \{SPAN\}"):
        data.resolve(str(tmp_path), 1, newest=3)


def test_a_width_stands_for_so_many_digits(tmp_path: Path) -> None:
    for name in ("20260101", "20260102", "202601"):
        write_folder(tmp_path / name, {"a": 1, "b": 1})
    assert data.resolve(f"{tmp_path}/{{SPAN:8}}", 1).span == 20260102


@pytest.mark.parametrize(
    "path", ["{SPAN}/{SPAN}", "{VERSION}", "{SPAN}/{VERSION}{VERSION}", "{span}", "{SPAN}"]
)
def test_marks_that_cannot_be_resolved_are_told(tmp_path: Path, path: str) -> None:
    with pytest.raises(InputError, match=r"\{SPAN"):
        data.resolve(f"{tmp_path}/{path}", 1)


# --- archives ----------------------------------------------------------------------------------------------


def _zip(path: Path, members: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as made:
        for name, content in members.items():
            made.writestr(name, content)
    return path


def test_archives_of_class_folders_are_read_with_or_without_a_folder_around(tmp_path: Path) -> None:
    root = write_folder(tmp_path / "pets", {"cat": 2, "dög": 2})
    with tarfile.open(tmp_path / "around.tar.gz", "w:gz") as made:
        made.add(root, "pets")
    plain = {f"{path.parent.name}/{path.name}": path.read_bytes() for path in root.rglob("*.png")}
    for path in (tmp_path / "around.tar.gz", _zip(tmp_path / "plain.zip", plain)):
        scratch = tmp_path / f"scratch-{path.name}"
        listing = data.list_data(data.resolve(str(path), 1), SETTINGS, str(scratch))
        assert listing.classes == ["cat", "dög"]
        assert len(listing.files) == 4
        assert listing.name == str(path)


def test_an_archive_writes_nothing_outside_its_target(tmp_path: Path) -> None:
    good = {"a/1.png": png(1), "b/2.png": png(2)}
    evil = {
        "../evil.png": b"x",
        "a/../../evil.png": b"x",
        "/evil.png": b"x",
        "C:/evil.png": b"x",
        "..\\evil.png": b"x",
    }
    path = _zip(tmp_path / "evil.zip", good | evil)
    target = tmp_path / "deep" / "target"
    unpacked = archive.unpack(str(path), str(target), 10_000)
    assert sorted(one.relative_to(target).as_posix() for one in target.rglob("*.png")) == sorted(good)
    assert not list(tmp_path.rglob("evil.png"))
    assert {one.path: one.reason for one in unpacked.refused} == dict.fromkeys(evil, "outside-root")


def test_links_in_an_archive_are_refused_and_never_written_through(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "links.tar", "w") as made:
        for name, kind in (
            ("a", tarfile.SYMTYPE),
            ("b/link.png", tarfile.LNKTYPE),
            ("b/pipe", tarfile.FIFOTYPE),
        ):
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, str(tmp_path / "victim")
            made.addfile(info)
        for name in ("a/through.png", "b/fine.png", "b/fine.png"):
            info = tarfile.TarInfo(name)
            info.size = 4
            made.addfile(info, io.BytesIO(b"data"))
    unpacked = archive.unpack(str(tmp_path / "links.tar"), str(tmp_path / "target"), 10_000)
    assert not (tmp_path / "victim").exists()
    assert sorted(path.name for path in (tmp_path / "target").rglob("*.png")) == ["fine.png", "through.png"]
    assert [one.path for one in unpacked.refused] == ["a", "b/link.png", "b/pipe", "b/fine.png"]


def test_members_above_the_limit_and_lies_about_sizes_are_refused(tmp_path: Path) -> None:
    path = _zip(tmp_path / "x.zip", {"a/bomb.png": bytes(50_000), "a/1.png": png(1), "b/2.png": png(2)})
    unpacked = archive.unpack(str(path), str(tmp_path / "target"), 10_000)
    assert [(one.path, one.reason) for one in unpacked.refused] == [("a/bomb.png", "too-large")]


@pytest.mark.parametrize("suffix", ["zip", "gztar", "xztar"])
def test_a_damaged_archive_is_told_in_one_line(tmp_path: Path, suffix: str) -> None:
    root = write_folder(tmp_path / "pets", {"cat": 20, "dog": 20})
    path = Path(shutil.make_archive(str(tmp_path / "made"), suffix, root))
    whole = path.read_bytes()
    middle = len(whole) // 3
    path.write_bytes(whole[:middle] + bytes(200) + whole[middle + 200 :])
    with pytest.raises(InputError, match="damaged") as raised:
        archive.unpack(str(path), str(tmp_path / "target"), 100_000)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("name", ["broken.zip", "broken.tar", "missing.zip", "missing.tar.gz"])
def test_archives_that_cannot_be_read_are_told_in_one_line(tmp_path: Path, name: str) -> None:
    if name.startswith("broken"):
        (tmp_path / name).write_bytes(b"PK\x03\x04 and nothing more")
    with pytest.raises(InputError, match=name) as raised:
        data.list_data(data.resolve(str(tmp_path / name), 1), SETTINGS, str(tmp_path / "scratch"))
    assert "\n" not in str(raised.value)
