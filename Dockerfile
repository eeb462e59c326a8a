# clusterkit for processors, without a GPU. Nothing is downloaded while the image is built: the
# folder wheels/ holds clusterkit and all that it needs. docs/how-to/offline.md says how to fill it.
#
#   docker build --tag clusterkit .
#   docker run --rm --shm-size 1g --volume "$PWD:/data" clusterkit doctor
ARG BASE=python:3.11-slim
FROM ${BASE}

# Extras of the package, with commas between them.
ARG EXTRAS=dicom,features

# Names of files are UTF-8; whoever runs this as another user has no home folder to write to.
ENV LANG=C.UTF-8 \
    MPLCONFIGDIR=/tmp/matplotlib

# Mounted and not copied: the wheels take no room in the image.
RUN --mount=type=bind,source=wheels,target=/wheels \
    python -m pip install --no-cache-dir --no-index --find-links /wheels "clusterkit[${EXTRAS}]"

RUN useradd --create-home --uid 10001 clusterkit \
    && install --directory --owner clusterkit /data
USER clusterkit
WORKDIR /data

# An image in which something would fail is never made.
RUN clusterkit doctor

ENTRYPOINT ["clusterkit"]
CMD ["--help"]
