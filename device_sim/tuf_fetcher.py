"""python-tuf's client over the device's own network."""

from collections.abc import Iterator

import httpx
from tuf.api.exceptions import DownloadHTTPError
from tuf.ngclient import FetcherInterface


class HttpxFetcher(FetcherInterface):
    """Downloads for python-tuf, so that an offline phone is offline for updates too."""

    def __init__(self, http: httpx.Client) -> None:
        self._http = http

    def _fetch(self, url: str) -> Iterator[bytes]:
        with self._http.stream("GET", url) as response:
            if not response.is_success:
                raise DownloadHTTPError(f"{url} answers {response.status_code}", response.status_code)
            yield from response.iter_bytes()
