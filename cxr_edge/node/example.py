"""A ``node.toml`` to start from."""

from typing import Final

#: Every key; what is commented out has the value that it has anyway, or is a choice.
EXAMPLE: Final = """\
data = "/var/lib/cxr-edge"            # queue, images and results; on a local disk, for the node's user alone

[receive]                             # images by C-STORE; leave the table as it is, or change what differs
ae_title = "CXREDGE"
host = "127.0.0.1"                    # another address needs callers or TLS
port = 11112
# callers = ["XRAY1", "XRAY2"]        # AE titles that may call
# max_associations = 16
# max_image_mib = 128
# idle_seconds = 60                   # that an association may be silent
# negotiation_seconds = 20
# [receive.tls]                       # who calls must show a certificate of this authority
# certificate = "/etc/cxr-edge/node.crt"
# key = "/etc/cxr-edge/node.key"
# authority = "/etc/cxr-edge/ca.crt"

[model]
device = "auto"
# bundle = "/opt/my-bundle"
# precision = "fp32"
# operating_point = "max_f1"
# tta = true                          # all variants
# adaptive = false                    # two to six
# strict = false                      # true: an image that is lateral, or of no chest, is a dead letter
# workers = 2                         # images at the same time; one for each core, if left out

[results]
overlays = 3                          # positive findings that are drawn and outlined, at most
# colormap = "turbo"

[queue]
retention_hours = 24                  # of images and results, after the last is delivered
dead_letter_hours = 720               # of what could not be delivered, or not inferred
min_free_mib = 1024                   # below that images are answered with "out of resources"
# attempts = 8                        # refusals after which something is a dead letter
# first_wait_seconds = 2              # after a failure; then twice as long, and again, up to the next
# longest_wait_seconds = 300

[metrics]
port = 9112                           # /metrics and /healthz, on loopback

[[destinations]]                             # who takes results; as many as there are
kind = "dicom"                        # by C-STORE
name = "archive"
host = "127.0.0.1"
port = 4242
ae_title = "ARCHIVE"
# calling_ae_title = "CXREDGE"
# timeout_seconds = 30
# tls_host_name = "archive.example"   # whom its certificate is for, where that is not the host
# [destinations.tls]                         # as [receive.tls]
# certificate = "/etc/cxr-edge/node.crt"
# key = "/etc/cxr-edge/node.key"
# authority = "/etc/cxr-edge/ca.crt"

# [[destinations]]
# kind = "dicomweb"                   # by STOW-RS
# name = "web-archive"
# url = "https://archive.example/dicom-web"
# timeout_seconds = 30
# token_file = "/etc/cxr-edge/token"  # a bearer token
# [destinations.tls]
# certificate = "/etc/cxr-edge/node.crt"
# key = "/etc/cxr-edge/node.key"
# authority = "/etc/cxr-edge/ca.crt"

# [[destinations]]
# kind = "folder"                     # DICOM objects, overlays of pictures as PNG, and a JSON line for each image
# name = "results"
# folder = "/srv/results"

# [watch]                             # PNG, JPEG and DICOM files are taken from here, and removed
# folder = "/srv/images"
# settle_seconds = 2                  # that a file must not have changed
"""
