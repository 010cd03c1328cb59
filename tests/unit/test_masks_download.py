"""Downloads from a server on this machine that can break off."""

import hashlib
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest

from voxlang.core.errors import ModelMissingError
from voxlang.masks.download import download

CONTENT = np.random.default_rng(1).integers(0, 256, 300_000, dtype=np.uint8).tobytes()
DIGEST = hashlib.sha256(CONTENT).hexdigest()


class _Handler(BaseHTTPRequestHandler):
    """Serves CONTENT at /whole, half of it at /broken, everything from the start at /no-ranges."""

    def do_GET(self):
        start = 0
        asked = self.headers.get("Range")
        self.server.ranges.append(asked)
        if self.path == "/absent":
            self.send_error(404)
            return
        if asked and self.path != "/no-ranges":
            start = int(asked.removeprefix("bytes=").removesuffix("-"))
            if start >= len(CONTENT):
                self.send_response(416)
                self.send_header("Content-Range", f"bytes */{len(CONTENT)}")
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            self.send_response(206)
        else:
            self.send_response(200)
        body = CONTENT[start:]
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: len(body) // 2] if self.path == "/broken" else body)

    def log_message(self, *_args):
        pass


@pytest.fixture
def server():
    with ThreadingHTTPServer(("127.0.0.1", 0), _Handler) as httpd:
        httpd.ranges = []
        thread = threading.Thread(target=httpd.serve_forever)
        thread.start()
        yield httpd
        httpd.shutdown()
        thread.join()


def url(server, path):
    return f"http://127.0.0.1:{server.server_address[1]}{path}"


def test_a_whole_file_arrives_under_its_name_only(server, tmp_path):
    target = tmp_path / "new" / "w.pt"
    assert download(url(server, "/whole"), target) == DIGEST
    assert target.read_bytes() == CONTENT and [p.name for p in target.parent.iterdir()] == ["w.pt"]
    assert download(url(server, "/absent"), target) == DIGEST  # there already: nothing is asked


def test_a_broken_download_leaves_a_part_and_continues(server, tmp_path):
    target = tmp_path / "w.pt"
    with pytest.raises(ModelMissingError, match=r"300000 bytes; got 150000 bytes.*run the command again to continue"):
        download(url(server, "/broken"), target)
    assert not target.exists()
    assert download(url(server, "/whole"), target) == DIGEST
    assert server.ranges == [None, "bytes=150000-"]


def test_a_server_without_ranges_starts_again(server, tmp_path):
    (tmp_path / "w.pt.part").write_bytes(b"something else")
    assert download(url(server, "/no-ranges"), tmp_path / "w.pt") == DIGEST


def test_a_complete_part_is_taken_and_a_longer_one_refused(server, tmp_path):
    part = tmp_path / "w.pt.part"
    part.write_bytes(CONTENT)
    assert download(url(server, "/whole"), tmp_path / "w.pt") == DIGEST
    (tmp_path / "long.pt.part").write_bytes(CONTENT + b"x")
    with pytest.raises(ModelMissingError, match=r"300001 bytes.*delete this file"):
        download(url(server, "/whole"), tmp_path / "long.pt")


def test_no_answer_says_what_to_do(server, tmp_path):
    with pytest.raises(ModelMissingError, match="404"):
        download(url(server, "/absent"), tmp_path / "w.pt")
    with pytest.raises(ModelMissingError, match=r"check the connection.*micro"):
        download("http://127.0.0.1:9/w.pt", tmp_path / "w.pt", timeout_s=2.0)
    assert list(tmp_path.iterdir()) == []
