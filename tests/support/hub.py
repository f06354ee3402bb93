"""A small hub of models on loopback, with the routes that huggingface_hub calls.

It answers as the real one does: large files by a redirect to another path, with the digest and size
in headers; ranges; commits; gated repositories. And it can be slow, or break off.
"""

from __future__ import annotations

import hashlib
import json
import re
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

BLOCK = 1 << 16
LARGE = (".safetensors", ".pt", ".bin", ".gguf")  # stored by their sha256, as with Git LFS


@dataclass
class Repository:
    """Files by name at a commit; gated: only for a token among `granted`."""

    commit: str
    files: Mapping[str, bytes]
    gated: bool = False
    granted: tuple[str, ...] = ()


@dataclass
class Hub:
    """The repositories by OWNER/NAME, what the network does, and what was asked for and sent.

    bytes_per_s: 0 is no limit; break_after: close the connection after so many bytes, `breaks`
    times; spoil: send other bytes than the listing states; tokens_at_cdn: how often a token came to
    the other host, which is none of its business; sending: answers that are under way.
    """

    repositories: dict[str, Repository]
    url: str = ""
    bytes_per_s: int = 0
    break_after: int = 0
    breaks: int = 0
    spoil: bool = False
    tokens_at_cdn: int = 0
    requests: list[str] = field(default_factory=list)
    sent: dict[str, int] = field(default_factory=dict)
    sending: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def forget(self) -> None:
        """Begin counting anew."""
        self.requests.clear()
        self.sent.clear()


@contextmanager
def running_hub(repositories: dict[str, Repository]) -> Iterator[Hub]:
    """A hub at hub.url while inside."""
    hub = Hub(repositories)
    handler = type("Handler", (_Handler,), {"hub": hub})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    hub.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def git_id(content: bytes) -> str:
    """The id of a git blob."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def sha256(content: bytes) -> str:
    """The digest as hex digits."""
    return hashlib.sha256(content).hexdigest()


class _Handler(BaseHTTPRequestHandler):
    hub: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        """Tests look at hub.requests."""

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path = unquote(urlsplit(self.path).path)
        self.hub.requests.append(f"{self.command} {path}")
        if match := re.fullmatch(r"/api/models/([^/]+/[^/]+)/revision/([^/]+)", path):
            self._list(*match.groups())
        elif match := re.fullmatch(r"/api/models/([^/]+/[^/]+)/tree/([^/]+)", path):
            self._tree(match[1])
        elif match := re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path):
            self._resolve(*match.groups())
        elif match := re.fullmatch(r"/cdn/([^/]+/[^/]+)/(.+)", path):
            repo, name = match.groups()
            self.hub.tokens_at_cdn += "Authorization" in self.headers
            self._content(name, self.hub.repositories[repo].files[name], {})
        else:
            self._answer(200 if path == "/" else 404, b"")

    def _list(self, repo: str, revision: str) -> None:
        repository = self.hub.repositories.get(repo)
        if repository is None:
            return self._answer(401, b"", {"X-Error-Code": "RepoNotFound"})
        if revision not in ("main", repository.commit):
            return self._answer(404, b"", {"X-Error-Code": "RevisionNotFound"})
        siblings = []
        for name, content in repository.files.items():
            entry = {"rfilename": name, "size": len(content), "blobId": git_id(content)}
            if name.endswith(LARGE):
                stored = {"sha256": sha256(content), "size": len(content), "pointerSize": 134}
                entry |= {"lfs": stored, "blobId": git_id(b"version https://git-lfs.github.com")}
            siblings.append(entry)
        about = {"id": repo, "sha": repository.commit, "siblings": siblings}
        return self._answer(200, json.dumps(about).encode(), {"Content-Type": "application/json"})

    def _tree(self, repo: str) -> None:
        """The listing that the library's own downloads ask for."""
        entries = []
        for name, content in self.hub.repositories[repo].files.items():
            about = {"type": "file", "path": name, "size": len(content), "oid": git_id(content)}
            if name.endswith(LARGE):
                stored = {"oid": sha256(content), "size": len(content), "pointerSize": 134}
                about |= {"lfs": stored}
            entries.append(about)
        body = json.dumps(entries).encode()
        self._answer(200, body, {"Content-Type": "application/json"})

    def _resolve(self, repo: str, revision: str, name: str) -> None:
        repository = self.hub.repositories[repo]
        token = self.headers.get("Authorization", "").removeprefix("Bearer ")
        if repository.gated and token not in repository.granted:
            return self._answer(403 if token else 401, b"", {"X-Error-Code": "GatedRepo"})
        if name not in repository.files or revision != repository.commit:
            return self._answer(404, b"", {"X-Error-Code": "EntryNotFound"})
        content = repository.files[name]
        headers = {"X-Repo-Commit": repository.commit}
        if not name.endswith(LARGE):
            return self._content(name, content, {**headers, "ETag": f'"{git_id(content)}"'})
        headers |= {"X-Linked-Etag": f'"{sha256(content)}"', "X-Linked-Size": str(len(content))}
        elsewhere = self.hub.url.replace("127.0.0.1", "localhost")  # another host, to a client
        return self._answer(302, b"", {**headers, "Location": f"{elsewhere}/cdn/{repo}/{name}"})

    def _content(self, name: str, content: bytes, headers: Mapping[str, str]) -> None:
        if self.hub.spoil:
            content = bytes(len(content))
        first, status = 0, 200
        if match := re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", "")):
            first, status = int(match[1]), 206
            whole = len(content)
            headers = {**headers, "Content-Range": f"bytes {first}-{whole - 1}/{whole}"}
        self._head(status, len(content) - first, headers)
        if self.command == "GET":
            with self.hub.lock:
                self.hub.sending += 1
            try:
                self._send(name, content[first:])
            finally:
                with self.hub.lock:
                    self.hub.sending -= 1

    def _send(self, name: str, content: bytes) -> None:
        hub, sent = self.hub, 0
        for start in range(0, len(content), BLOCK):
            if hub.breaks and sent >= hub.break_after:
                hub.breaks -= 1
                self.close_connection = True
                self.connection.close()
                return
            block = content[start : start + BLOCK]
            try:
                self.wfile.write(block)
            except OSError:
                return  # whoever asked is gone
            sent += len(block)
            with hub.lock:
                hub.sent[name] = hub.sent.get(name, 0) + len(block)
            if hub.bytes_per_s:
                time.sleep(len(block) / hub.bytes_per_s)

    def _answer(self, status: int, body: bytes, headers: Mapping[str, str] | None = None) -> None:
        self._head(status, len(body), headers or {})
        if self.command == "GET":
            self.wfile.write(body)

    def _head(self, status: int, length: int, headers: Mapping[str, str]) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(length)}.items():
            self.send_header(name, value)
        self.end_headers()
