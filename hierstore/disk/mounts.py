"""What kind of file system a folder is on, where the system tells (Linux)."""

from __future__ import annotations

import os

from hierstore.disk import files

_NETWORKS = frozenset(
    ["nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "afs", "ceph", "fuse.sshfs", "fuse.glusterfs", "fuse.rclone",
     "fuse.s3fs", "fuse.davfs2", "davfs", "lustre", "gpfs", "virtiofs", "vboxsf", "drvfs"]
)  # fmt: skip
_LOCAL = frozenset(
    ["ext2", "ext3", "ext4", "xfs", "btrfs", "f2fs", "zfs", "bcachefs", "jfs", "nilfs2", "tmpfs", "overlay"]
)


def is_network(path: bytes) -> bool:
    """Whether other machines may have the folder mounted too, as far as is known."""
    return kind(path) in _NETWORKS


def is_local(path: bytes) -> bool:
    """Whether nobody changes the folder but through this system, as far as is known; false where in doubt."""
    return kind(path) in _LOCAL


def kind(path: bytes) -> str:
    """The kind of the file system that a folder is on; empty where the system does not tell."""
    best, found_kind = -1, ""
    real = os.path.realpath(path)
    for mount, found in files.mounts():
        if (real == mount or real.startswith(mount.rstrip(b"/") + b"/")) and len(mount) >= best:
            best, found_kind = len(mount), found
    return found_kind
