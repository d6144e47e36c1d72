"""What stays out of the process comes when it is used. In processes of their own: imports stay."""

import subprocess
import sys


def run(script: str) -> str:
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return done.stdout


def test_a_connection_without_tls_loads_no_openssl_and_one_with_tls_does() -> None:
    script = """
import sys
from pathlib import Path
from edge_agent.adapters.mqtt import MqttSettings, PahoClient
import paho.mqtt.client as paho
PahoClient(MqttSettings("h", "c"), lambda: None)
try:
    try:
        raise BlockingIOError
    except paho.ssl.SSLWantReadError:
        print("wrong")
except BlockingIOError:
    pass
print("_ssl" in sys.modules, "http.client" in sys.modules)
assert PahoClient(MqttSettings("h", "c", tls=True), lambda: None).encrypted
import ssl, urllib.request
print("_ssl" in sys.modules, paho.ssl.SSLWantReadError is ssl.SSLWantReadError)
print(paho.urllib.request.getproxies is urllib.request.getproxies)
"""
    assert run(script).split() == ["False", "False", "True", "True", "True"]


def test_a_name_that_stands_in_becomes_the_module_when_it_is_used() -> None:
    script = """
import sys
from edge_agent.adapters.lazy_imports import on_demand
with on_demand("colorsys", ready=1):
    import colorsys as early
import colorsys
print(type(colorsys).__name__, early.rgb_to_hsv is colorsys.rgb_to_hsv)
with on_demand("wave", ready=1):
    import wave as early
print(early.ready, "wave" in sys.modules, callable(early.open), "wave" in sys.modules)
"""
    assert run(script).split() == ["module", "True", "1", "False", "True", "True"]


def test_digests_are_the_same_without_openssl_and_whole_again_for_plug_ins() -> None:
    script = """
import sys
from edge_agent.adapters.lazy_imports import daemon_libraries, restore_libraries
with daemon_libraries():
    import hashlib
print(hashlib.sha256(b"abc").hexdigest())
print("_hashlib" in sys.modules)
restore_libraries()
print(hashlib.sha256(b"abc").hexdigest(), "_hashlib" in sys.modules, callable(hashlib.pbkdf2_hmac))
"""
    digest = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"  # FIPS 180-2, B.1
    assert run(script).split() == [digest, "False", digest, "True", "True"]


def test_compressions_of_no_bundle_come_back_for_plug_ins() -> None:
    script = """
import io, sys
from edge_agent.adapters.lazy_imports import daemon_libraries, restore_libraries
with daemon_libraries():
    import shutil, zipfile
print([name in sys.modules for name in ("bz2", "lzma")])
restore_libraries()
for method in (zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA):
    archive = zipfile.ZipFile(io.BytesIO(), "w", method)
    archive.writestr("a", b"b" * 99)
    print(archive.read("a") == b"b" * 99)
print({"bztar", "xztar"} <= {name for name, _ in shutil.get_archive_formats()})
"""
    assert run(script).splitlines() == ["[False, False]", "True", "True", "True"]


def test_numpy_and_dataclasses_work_without_the_modules_they_seldom_use() -> None:
    script = """
import sys, types
from edge_agent.adapters.lazy_imports import daemon_libraries
with daemon_libraries():
    import dataclasses
    import numpy as np
    print([type(sys.modules.get(name)) is types.ModuleType for name in ("inspect", "pickle", "ipaddress")])
    @dataclasses.dataclass(frozen=True, slots=True)
    class Point:
        x: int = 0
print(Point(3), np.concatenate([np.zeros(1), np.ones(1)]).sum())
import inspect, pickle
print("axis" in inspect.signature(np.mean).parameters, pickle.loads(pickle.dumps(np.arange(3))).tolist())
print(pickle.loads(np.arange(2).dumps()).tolist())
"""
    assert run(script).splitlines() == ["[False, False, False]", "Point(x=3) 1.0", "True [0, 1, 2]", "[0, 1]"]
