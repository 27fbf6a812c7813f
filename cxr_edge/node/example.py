"""A ``node.toml`` to start from."""

from typing import Final

#: Every key. What is commented out is the default, or optional.
EXAMPLE: Final = """\
data = "/var/lib/cxr-edge"            # queue, images and results; on a local disk, readable by the node's user alone

[receive]                             # images by C-STORE
ae_title = "CXREDGE"
host = "127.0.0.1"                    # another address needs callers or TLS
port = 11112
# callers = ["XRAY1", "XRAY2"]        # AE titles that may call; any, by default
# max_associations = 16
# max_image_mib = 128
# idle_seconds = 60                   # longest silence of an association
# negotiation_seconds = 20
# [receive.tls]                       # callers must present a certificate of this authority
# certificate = "/etc/cxr-edge/node.crt"
# key = "/etc/cxr-edge/node.key"
# authority = "/etc/cxr-edge/ca.crt"

[model]
device = "auto"
# bundle = "/opt/my-bundle"
# precision = "fp32"
# operating_point = "max_f1"
# tta = true                          # average of all TTA variants
# adaptive = false                    # true: as many TTA variants as the image needs
# strict = false                      # true: an image that is lateral, turned or of another part is not inferred
# workers = 2                         # images at the same time; by default one for each core

[results]
overlays = 3                          # positive findings that get an overlay and an outline, at most
# colormap = "turbo"
# wait_for_study = 120                # seconds without a new image, after which a study's images are merged into one
#                                     # result for destinations of kind folder; never, by default

[queue]
retention_hours = 24                  # of an image and its results, after the last delivery
dead_letter_hours = 720               # of images and results that are dead letters
min_free_mib = 1024                   # with less disk space, images are answered with "out of resources"
# attempts = 8                        # failed attempts after which an image or a result is a dead letter
# first_wait_seconds = 2              # after a failure; doubled after each further one, up to the longest
# longest_wait_seconds = 300

[metrics]
port = 9112                           # /metrics and /healthz, on loopback

[[destinations]]                      # receives results; repeat the table for each destination
kind = "dicom"                        # by C-STORE
name = "archive"
host = "127.0.0.1"
port = 4242
ae_title = "ARCHIVE"
# calling_ae_title = "CXREDGE"
# timeout_seconds = 30
# tls_host_name = "archive.example"   # host name in its certificate, where that differs from host
# [destinations.tls]                  # as [receive.tls]
# certificate = "/etc/cxr-edge/node.crt"
# key = "/etc/cxr-edge/node.key"
# authority = "/etc/cxr-edge/ca.crt"

# [[destinations]]
# kind = "dicomweb"                   # by STOW-RS
# name = "web-archive"
# url = "https://archive.example/dicom-web"
# timeout_seconds = 30
# token_file = "/etc/cxr-edge/token"  # contains a bearer token
# [destinations.tls]
# certificate = "/etc/cxr-edge/node.crt"
# key = "/etc/cxr-edge/node.key"
# authority = "/etc/cxr-edge/ca.crt"

# [[destinations]]
# kind = "folder"                     # DICOM objects, overlays of PNG and JPEG images, a JSON line for each image
# name = "results"
# folder = "/srv/results"

# [watch]                             # PNG, JPEG and DICOM files are taken from this folder, and removed from it
# folder = "/srv/images"
# settle_seconds = 2                  # a file is read once it has not changed for so long
# stalled_seconds = 60                # a file that is not whole may be a copy that stalls: it is left for so long
"""
