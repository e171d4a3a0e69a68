"""An nginx before our servers: its own configuration, folder and port; run by whoever runs the test."""

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from .processes import free_port

__all__ = ["nginx"]

_CONFIGURATION = """
{user}
worker_processes 1;
pid {home}/pid;
error_log {home}/error.log warn;
events {{ worker_connections 256; }}
http {{
    access_log off;
    client_max_body_size 8m;
    client_body_temp_path {home}/body;
    proxy_temp_path {home}/proxy;
    fastcgi_temp_path {home}/fastcgi;
    uwsgi_temp_path {home}/uwsgi;
    scgi_temp_path {home}/scgi;

    upstream both {{
        {servers}
        keepalive 16;
    }}
    upstream one {{
        {first}
        keepalive 16;
    }}
    server {{
        listen 127.0.0.1:{port};
        proxy_http_version 1.1;
        proxy_set_header Connection "";
        proxy_set_header Host $http_host;
        proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
        proxy_next_upstream error timeout http_503 non_idempotent;
        proxy_read_timeout {read_timeout};
        # Buffering is on, as it is by default: what must not wait says so itself.
        location / {{ proxy_pass http://both; }}
        location /one/ {{ proxy_pass http://one/; }}
        # Streams without chunks, of which the nginx makes whole buffers, unless told otherwise.
        location /old/ {{
            proxy_pass http://one/;
            proxy_http_version 1.0;
        }}
        location /held/ {{
            proxy_pass http://one/;
            proxy_http_version 1.0;
            proxy_ignore_headers X-Accel-Buffering;
        }}
    }}
}}
"""


def _find() -> str:
    found = shutil.which("nginx", path=os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin"]))
    if found is None:
        pytest.skip("there is no nginx on this machine: apt-get install nginx-light")
    return found


@contextmanager
def nginx(home: Path, ports: Sequence[int], *, read_timeout: str = "60s") -> Iterator[int]:
    """Stand before the servers at these ports of this machine; yields the port of the nginx.

    `/` goes to any of them, `/one/` to the first. So do `/old/`, with HTTP/1.0, and `/held/`, where besides nobody can
    switch off buffering.
    """
    command, port = _find(), free_port()
    # Without a word it would give root's rights away, and with them its folder.
    user = "user root;" if os.geteuid() == 0 else ""
    servers = [f"server 127.0.0.1:{upstream} max_fails=0;" for upstream in ports]
    configuration = home / "nginx.conf"
    configuration.write_text(
        _CONFIGURATION.format(
            user=user, home=home, servers=" ".join(servers), first=servers[0], port=port, read_timeout=read_timeout
        )
    )
    # It goes into the background once it listens.
    subprocess.run([command, "-p", str(home), "-c", str(configuration)], check=True, timeout=20, capture_output=True)
    try:
        yield port
    finally:
        os.kill(int((home / "pid").read_text()), signal.SIGTERM)
