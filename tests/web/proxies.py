"""A real nginx in front of a served application, like JupyterHub's proxies in front of a notebook server."""

import shutil
import socket
import subprocess
import urllib.parse

import pytest

NGINX = shutil.which("nginx") or shutil.which("/usr/sbin/nginx")
CONFIGURATION = """
daemon off;
master_process off;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{ }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    server {{
        listen 127.0.0.1:{port};
        {locations}
    }}
}}
"""
# jupyter-server-proxy takes its path off and leaves the Host header as the browser sent it.
STRIPPED = """
location /user/jane@x/proxy/5000/ {{
    proxy_pass {app}/;
    proxy_set_header Host $http_host;
    proxy_http_version 1.1;
}}
"""
KEPT = """
location /kept/tales {{
    proxy_pass {app};
    proxy_set_header Host $http_host;
}}
"""
# The usual block of a reverse proxy: its own Host header, and the visitor's facts beside it.
FORWARDED = """
location /forwarded/ {{
    proxy_pass {app}/;
    proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
    proxy_set_header X-Forwarded-Proto https;
    proxy_set_header X-Forwarded-Host $http_host;
    proxy_set_header X-Forwarded-Prefix /forwarded;
}}
"""


class Nginx:
    """An nginx of its own folder and port."""

    def __init__(self, folder, server, locations):
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            self.port = taken.getsockname()[1]
        text = CONFIGURATION.format(folder=folder, port=self.port, locations=locations.format(app=server.url))
        (folder / "nginx.conf").write_text(text)
        self.url = f"http://127.0.0.1:{self.port}"
        self._process = subprocess.Popen(
            [NGINX, "-p", str(folder), "-c", str(folder / "nginx.conf"), "-e", str(folder / "error.log")],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        self._wait_until_it_listens(folder)

    def stop(self):
        self._process.terminate()
        self._process.communicate(timeout=30)

    def _wait_until_it_listens(self, folder):
        address = urllib.parse.urlsplit(self.url)
        while True:
            try:
                socket.create_connection((address.hostname, address.port), 30).close()
                return
            except ConnectionRefusedError:
                try:
                    self._process.wait(0.02)
                except subprocess.TimeoutExpired:
                    continue
                raise AssertionError((folder / "error.log").read_text()) from None


@pytest.fixture
def nginx(tmp_path):
    """Return a function that puts an nginx before a server and gives its URL; all end with the test."""
    if NGINX is None:
        pytest.skip("nginx is not installed (Debian: apt-get install nginx-light)")
    running = []

    def start(server, locations):
        folder = tmp_path / f"nginx{len(running)}"
        folder.mkdir()
        running.append(Nginx(folder, server, locations))
        return running[-1].url

    yield start
    for proxy in running:
        proxy.stop()
