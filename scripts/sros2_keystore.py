#!/usr/bin/env python3
"""Keys and signed permissions for nodes under DDS Security, from config/sros2/policy.xml, without `ros2 security`.

    scripts/sros2_keystore.py KEYSTORE                    all enclaves of the policy
    scripts/sros2_keystore.py KEYSTORE /emotalk/speaker   these only, with the authority that is there

The same folders and files as `ros2 security create_keystore`, `create_enclave` and `create_permission` make (sros2,
Jazzy): keys on the curve P-256, certificates for 10 years whose common name is the enclave, governance and permissions
signed as S/MIME. Needs the program `openssl`. Keys of enclaves that exist are kept; permissions are made anew.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from datetime import datetime, timedelta, timezone
from pathlib import Path
from xml.etree import ElementInclude
from xml.etree import ElementTree as Xml

from emotalk_ros.files import write_text

POLICY = Path(__file__).resolve().parents[1] / "config" / "sros2" / "policy.xml"
DAYS = 3650
AUTHORITIES = ("identity_ca", "permissions_ca")
SCHEMA = "http://www.omg.org/spec/DDS-SECURITY/20170901/omg_shared_ca_"
SERVICE_PARTS = {"request": (("publish", "rq", "Request"), ("subscribe", "rr", "Reply"))}
SERVICE_PARTS["reply"] = (("subscribe", "rq", "Request"), ("publish", "rr", "Reply"))
GOVERNANCE = f"""<?xml version="1.0" encoding="utf-8"?>
<dds xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xsi:noNamespaceSchemaLocation="{SCHEMA}governance.xsd">
  <domain_access_rules>
    <domain_rule>
      <domains><id_range><min>0</min><max>232</max></id_range></domains>
      <allow_unauthenticated_participants>false</allow_unauthenticated_participants>
      <enable_join_access_control>true</enable_join_access_control>
      <discovery_protection_kind>ENCRYPT</discovery_protection_kind>
      <liveliness_protection_kind>ENCRYPT</liveliness_protection_kind>
      <rtps_protection_kind>SIGN</rtps_protection_kind>
      <topic_access_rules>
        <topic_rule>
          <topic_expression>*</topic_expression>
          <enable_discovery_protection>true</enable_discovery_protection>
          <enable_liveliness_protection>true</enable_liveliness_protection>
          <enable_read_access_control>true</enable_read_access_control>
          <enable_write_access_control>true</enable_write_access_control>
          <metadata_protection_kind>ENCRYPT</metadata_protection_kind>
          <data_protection_kind>ENCRYPT</data_protection_kind>
        </topic_rule>
      </topic_access_rules>
    </domain_rule>
  </domain_access_rules>
</dds>
"""


def read_policy(path: Path) -> dict[str, dict[str, set[str]]]:
    """DDS topics that each enclave may publish and subscribe, by enclave path."""
    tree = Xml.parse(path).getroot()
    ElementInclude.include(tree, base_url=str(path))
    enclaves: dict[str, dict[str, set[str]]] = {}
    for enclave in tree.iter("enclave"):
        allowed = enclaves.setdefault(enclave.get("path", ""), {"publish": set(), "subscribe": set()})
        for profile in enclave.iter("profile"):
            namespace, node = profile.get("ns", "/"), profile.get("node", "")
            for group in profile:
                for kind, granted in group.attrib.items():
                    if granted != "ALLOW":
                        continue
                    for entry in group:
                        name = full_name(entry.text or "", namespace, node)
                        if entry.tag == "topic":
                            allowed[kind].add(f"rt{name}")
                        elif entry.tag == "service":
                            for way, prefix, suffix in SERVICE_PARTS[kind]:
                                allowed[way].add(f"{prefix}{name}{suffix}")
                        else:
                            raise SystemExit(f"{path}: <{entry.tag}> is not understood: topics and services only")
        for ways in allowed.values():
            ways.add("ros_discovery_info")
    return enclaves


def full_name(name: str, namespace: str, node: str) -> str:
    """A topic's or service's name as ROS expands it."""
    name = name.strip()
    if name.startswith("/") or name == "*":
        return name if name != "*" else "/*"
    prefix = namespace.rstrip("/")
    return f"{prefix}/{node}/{name[2:]}" if name.startswith("~/") else f"{prefix}/{name}"


def permissions(enclave: str, allowed: dict[str, set[str]], now: datetime) -> str:
    """The permissions document of an enclave."""
    lists = "".join(
        f"        <{way}><topics>\n"
        + "".join(f"          <topic>{topic}</topic>\n" for topic in sorted(allowed[way]))
        + f"        </topics></{way}>\n"
        for way in ("publish", "subscribe")
    )
    begin, end = (when.strftime("%Y-%m-%dT%H:%M:%S") for when in (now - timedelta(days=1), now + timedelta(days=DAYS)))
    return f"""<?xml version="1.0" encoding="utf-8"?>
<dds xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xsi:noNamespaceSchemaLocation="{SCHEMA}permissions.xsd">
  <permissions>
    <grant name="{enclave}">
      <subject_name>CN={enclave}</subject_name>
      <validity><not_before>{begin}</not_before><not_after>{end}</not_after></validity>
      <allow_rule>
        <domains><id_range><min>0</min><max>232</max></id_range></domains>
{lists}      </allow_rule>
      <default>DENY</default>
    </grant>
  </permissions>
</dds>
"""


def openssl(*words: str | Path) -> None:
    """Run it. Exits with its words when it fails."""
    try:
        subprocess.run(["openssl", *map(str, words)], check=True, capture_output=True, text=True)
    except FileNotFoundError:
        sys.exit("the program openssl is missing: apt install openssl")
    except subprocess.CalledProcessError as error:
        sys.exit(f"openssl {words[0]} failed: {error.stderr.strip()}")


def make_key(path: Path) -> None:
    """A private key that its owner alone may read."""
    openssl("genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", path)
    path.chmod(0o600)


def make_authority(store: Path) -> None:
    """The authority that signs identities and permissions: one for both, as sros2 does it."""
    for name in ("public", "private", "enclaves"):
        (store / name).mkdir(parents=True, exist_ok=True)
    (store / "private").chmod(0o700)
    key, certificate = store / "private" / "ca.key.pem", store / "public" / "ca.cert.pem"
    if not key.exists():
        make_key(key)
        subject = ("-subj", "/CN=sros2CA")
        openssl("req", "-x509", "-new", "-sha256", "-key", key, "-out", certificate, "-days", str(DAYS), *subject)
    for name in AUTHORITIES:
        for folder, kind in (("private", "key"), ("public", "cert")):
            link = store / folder / f"{name}.{kind}.pem"
            if not link.is_symlink():
                link.symlink_to(f"ca.{kind}.pem")
    governance = store / "enclaves" / "governance.xml"
    if not governance.exists():
        write_text(governance, GOVERNANCE)
    sign(store, governance)


def sign(store: Path, document: Path) -> None:
    """`document`.p7s beside `document`.xml."""
    words = ("-in", document, "-out", document.with_suffix(".p7s"))
    signer = ("-signer", store / "public/permissions_ca.cert.pem", "-inkey", store / "private/permissions_ca.key.pem")
    openssl("smime", "-sign", "-text", *words, *signer)


def make_enclave(store: Path, enclave: str, allowed: dict[str, set[str]]) -> None:
    """Key, certificate and permissions of an enclave."""
    folder = store / "enclaves" / enclave.strip("/")
    folder.mkdir(parents=True, exist_ok=True)
    for name in AUTHORITIES:
        link = folder / f"{name}.cert.pem"
        if not link.is_symlink():
            link.symlink_to(os.path.relpath(store / "public" / f"{name}.cert.pem", folder))
    if not (folder / "governance.p7s").is_symlink():
        (folder / "governance.p7s").symlink_to(os.path.relpath(store / "enclaves" / "governance.p7s", folder))
    if not (folder / "cert.pem").exists():
        make_key(folder / "key.pem")
        with tempfile.TemporaryDirectory() as scratch:
            request, config = Path(scratch) / "request", Path(scratch) / "config"
            # By a file: a slash in a name of -subj begins another part.
            config.write_text(f"[req]\nprompt=no\ndistinguished_name=n\n[n]\nCN={enclave}\n")
            openssl("req", "-new", "-sha256", "-key", folder / "key.pem", "-out", request, "-config", config)
            authority = ("-CA", store / "public/identity_ca.cert.pem", "-CAkey", store / "private/identity_ca.key.pem")
            validity = ("-CAcreateserial", "-CAserial", Path(scratch) / "serial", "-days", str(DAYS), "-sha256")
            openssl("x509", "-req", "-in", request, "-out", folder / "cert.pem", *authority, *validity)
    write_text(folder / "permissions.xml", permissions(enclave, allowed, datetime.now(timezone.utc)))
    sign(store, folder / "permissions.xml")


def main() -> None:
    """Parse, make."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("keystore", type=Path)
    parser.add_argument("enclaves", nargs="*", help="such as /emotalk/emotalk (default: all of the policy)")
    parser.add_argument("--policy", type=Path, default=POLICY)
    words = parser.parse_args()
    if shutil.which("openssl") is None:
        sys.exit("the program openssl is missing: apt install openssl")
    policy = read_policy(words.policy)
    unknown = [enclave for enclave in words.enclaves if enclave not in policy]
    if unknown:
        parser.error(f"no enclave {', '.join(unknown)} in {words.policy}; there are {', '.join(policy)}")
    store = words.keystore.resolve()
    make_authority(store)
    for enclave in words.enclaves or policy:
        make_enclave(store, enclave, policy[enclave])
        print(store / "enclaves" / enclave.strip("/"))


if __name__ == "__main__":
    main()
