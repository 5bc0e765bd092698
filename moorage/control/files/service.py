"""What the Files API does. Each method asks for the caller's rights itself; those that take a `Grant` need none."""

from __future__ import annotations

import asyncio
import base64
import binascii
import itertools
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from starlette.concurrency import run_in_threadpool

from moorage.api.errors import AlreadyExists, InvalidParameterValue, NotFound
from moorage.api.files import (
    MOST_PARTS,
    AbortUploadUrl,
    CompleteUpload,
    CreateAbortUploadUrl,
    CreateUploadPartUrls,
    DirectoryContents,
    DirectoryEntry,
    MultipartSession,
    RegisteredFile,
    RegisteredFiles,
    SignedDownloadUri,
    SignedUrl,
    StartedUpload,
    UploadPartUrl,
    UploadPartUrls,
)
from moorage.api.routing import Principal
from moorage.control.dependencies import ControlDependencies
from moorage.control.files.places import Place, Places, Version
from moorage.control.files.signing import Action, Grant, SignedUrls
from moorage.control.files.uploads import Uploads
from moorage.control.registry_access import RegistryAccess
from moorage.registry.artifacts import ArtifactStore, Entry, OpenArtifact
from moorage.registry.registrations import Registrations

_LONGEST_PAGE = 1000
# Whole files are moved here: gigabytes take a while, and the threads that answer all other requests must not wait.
_MOVERS = ThreadPoolExecutor(8, thread_name_prefix="files")


@dataclass(frozen=True, slots=True)
class FilesService:
    store: ArtifactStore
    places: Places
    uploads: Uploads
    urls: SignedUrls

    @classmethod
    def on(
        cls, deps: ControlDependencies, access: RegistryAccess, registrations: Registrations
    ) -> FilesService:
        uploads = Uploads(deps.artifacts.staging, deps.encryption)
        return cls(deps.artifacts, Places(deps, access, registrations), uploads, SignedUrls(deps))

    def metadata(self, caller: Principal, file: str) -> Entry:
        """
        Raises:
            NotFound: there is no such file.
            ApiError: as `Places.to_read`.
        """
        place = self.places.to_read(caller, file)
        return self._file(place.path, file)

    def open(self, caller: Principal, file: str) -> OpenArtifact:
        """The file, to be closed by the caller; raises as `metadata`."""
        place = self.places.to_read(caller, file)
        return self._opened(place.path, file)

    async def upload(
        self, caller: Principal, file: str, chunks: AsyncIterator[bytes], length: int | None, *, replace: bool
    ) -> None:
        """Make a file of these bytes once all are there. `length` is what the client announced.

        Raises:
            AlreadyExists: there is one, and it may not be replaced.
            BadRequest: the upload broke off, or has another length.
            ApiError: as `Places.writing`.
        """
        await run_in_threadpool(self._require_room, caller, file, replace)
        async with self.uploads.received(chunks, length) as received:
            await _moving(lambda: self._put(caller, file, received, replace))

    def delete(self, caller: Principal, file: str) -> None:
        """
        Raises:
            NotFound: there is no such file.
            ApiError: as `Places.writing`.
        """
        with self.places.writing(caller, file) as place:
            self._file(place.path, file)
            self.store.delete(place.path)

    def require_directory(self, caller: Principal, file: str) -> None:
        """
        Raises:
            NotFound: there is no such directory.
            ApiError: as `Places.to_read`.
        """
        self._directory(self.places.to_read(caller, file))

    def contents(
        self, caller: Principal, file: str, page_size: int | None, page_token: str | None
    ) -> DirectoryContents:
        """A page of a directory, by name; raises as `require_directory`, or for what is no `next_page_token`."""
        place = self.places.to_read(caller, file)
        self._directory(place)
        after = _name_of(page_token) if page_token else ""
        limit = min(page_size or _LONGEST_PAGE, _LONGEST_PAGE)
        rest = (entry for entry in self.store.entries(place.path) if entry.name > after)
        entries = list(itertools.islice(rest, limit + 1))
        page, more = entries[:limit], len(entries) > limit
        return DirectoryContents(
            contents=tuple(
                DirectoryEntry(
                    path=f"{file}/{entry.name}",
                    name=entry.name,
                    is_directory=entry.is_folder,
                    file_size=None if entry.is_folder else entry.size,
                    last_modified=entry.modified,
                )
                for entry in page
            ),
            next_page_token=_token_of(page[-1].name) if more else None,
        )

    def make_directory(self, caller: Principal, file: str) -> None:
        """Have a directory there; raises as `Places.writing`, or when a file is there."""
        with self.places.writing(caller, file) as place:
            self.store.make_folder(place.path)

    def delete_directory(self, caller: Principal, file: str) -> None:
        """
        Raises:
            NotFound: there is no such directory.
            InvalidParameterValue: it is not empty.
            ApiError: as `Places.writing`.
        """
        with self.places.writing(caller, file) as place:
            self._directory(place)
            self.store.delete_folder(place.path)

    def start_upload(self, caller: Principal, file: str, *, replace: bool) -> StartedUpload:
        """Raises as `upload`, for what can be said before."""
        self._require_room(caller, file, replace)
        token = self.uploads.start(caller.id, file, replace=replace)
        return StartedUpload(multipart_upload=MultipartSession(session_token=token))

    def part_urls(self, caller: Principal, base_url: str, request: CreateUploadPartUrls) -> UploadPartUrls:
        """
        Raises:
            InvalidParameterValue: the token is not that of the caller's upload of that file.
            NotFound: the upload was completed, aborted or given up.
        """
        session = self.uploads.session(request.session_token, caller.id, _absolute(request.path))
        self.uploads.require_under_way(session.id)
        first, end = request.start_part_number, request.start_part_number + request.count
        if end - 1 > MOST_PARTS:
            raise InvalidParameterValue(f"Invalid value for 'count': an upload has {MOST_PARTS} parts at most")
        expires = self.urls.expiry(request.expire_time)

        def url(number: int) -> str:
            grant = Grant(action=Action.PART, user=caller.user_name, expires=expires, upload=session.id, part=number)
            return self.urls.sign(base_url, grant)

        return UploadPartUrls(
            upload_part_urls=tuple(UploadPartUrl(url=url(number), part_number=number) for number in range(first, end))
        )

    def abort_url(self, caller: Principal, base_url: str, request: CreateAbortUploadUrl) -> AbortUploadUrl:
        """
        Raises:
            InvalidParameterValue: the token is not that of the caller's upload of that file.
        """
        session = self.uploads.session(request.session_token, caller.id, _absolute(request.path))
        expires = self.urls.expiry(request.expire_time)
        grant = Grant(action=Action.ABORT, user=caller.user_name, expires=expires, upload=session.id)
        return AbortUploadUrl(abort_upload_url=SignedUrl(url=self.urls.sign(base_url, grant)))

    async def complete_upload(self, caller: Principal, file: str, token: str, request: CompleteUpload) -> None:
        """Make the file of the parts. Again after it was done changes nothing.

        Raises:
            InvalidParameterValue: the token is not that of the caller's upload of that file; a part is missing, or
                its tag is another one.
            NotFound: the upload was aborted or given up.
            ApiError: as `upload`.
        """
        session = self.uploads.session(token, caller.id, file)
        await run_in_threadpool(self.places.require_writable, caller, file)

        def complete() -> None:
            with self.uploads.completing(session.id):
                if self.uploads.is_done(session.id):
                    return
                joined = self.uploads.join(session.id, request.parts)
                try:
                    self._put(caller, file, joined, session.replace)
                finally:
                    joined.unlink(missing_ok=True)
                self.uploads.finish(session.id)

        await _moving(complete)

    def download_url(self, caller: Principal, base_url: str, file: str, expire_time: str | None) -> SignedUrl:
        """Raises as `metadata`."""
        place = self.places.to_read(caller, file)
        self._file(place.path, file)
        return SignedUrl(url=self._read_url(caller, base_url, place.path, expire_time))

    def registered_files(self, caller: Principal, version: Version, path: str) -> RegisteredFiles:
        """What is in that directory of the version's files; of a file, the file itself.

        Raises:
            NotFound: there is neither.
            ApiError: as `Places.of_version`.
        """
        place = self.places.of_version(caller, version, path)
        entry = self.store.find(place.path)
        if entry is not None and not entry.is_folder:
            return RegisteredFiles(files=(RegisteredFile(path=path, is_dir=False, file_size=entry.size),))
        self._directory(place)
        prefix = f"{path.strip('/')}/" if path else ""
        return RegisteredFiles(
            files=tuple(
                RegisteredFile(
                    path=f"{prefix}{one.name}",
                    is_dir=one.is_folder,
                    file_size=None if one.is_folder else one.size,
                )
                for one in self.store.entries(place.path)
            )
        )

    def registered_file_url(
        self, caller: Principal, base_url: str, version: Version, path: str
    ) -> SignedDownloadUri:
        """
        Raises:
            NotFound: there is no such file.
            ApiError: as `Places.of_version`.
        """
        place = self.places.of_version(caller, version, path)
        self._file(place.path, path)
        return SignedDownloadUri(signed_uri=self._read_url(caller, base_url, place.path, None))

    def opened_as_granted(self, grant: Grant) -> OpenArtifact:
        """
        Raises:
            NotFound: the file is not there.
        """
        return self._opened(grant.path, grant.path)

    def metadata_as_granted(self, grant: Grant) -> Entry:
        """
        Raises:
            NotFound: the file is not there.
        """
        return self._file(grant.path, grant.path)

    async def upload_as_granted(self, grant: Grant, chunks: AsyncIterator[bytes], length: int | None) -> None:
        """Make the file, in place of an earlier one; raises as `upload`."""
        async with self.uploads.received(chunks, length) as received:
            await _moving(lambda: self.store.put(received, grant.path, replace=True))

    async def part_as_granted(self, grant: Grant, chunks: AsyncIterator[bytes], length: int | None) -> str:
        """Take in a part of an upload. Returns its tag.

        Raises:
            NotFound: the upload was completed, aborted or given up.
            BadRequest: the part broke off, or has another length.
        """
        await run_in_threadpool(self.uploads.require_under_way, grant.upload)
        async with self.uploads.received(chunks, length) as received:
            return await run_in_threadpool(self.uploads.add_part, grant.upload, grant.part, received)

    def _require_room(self, caller: Principal, file: str, replace: bool) -> None:
        """Refuse early what cannot be put in the end."""
        place = self.places.require_writable(caller, file)
        there = self.store.find(place.path)
        if (there is not None and there.is_folder) or (there is None and self.places.is_empty_root(place)):
            raise InvalidParameterValue(f"Invalid path '{file}': it is a directory")
        if there is not None and not replace:
            raise _already_there(file)

    def _put(self, caller: Principal, file: str, source: Path, replace: bool) -> None:
        # Asked again, all of it: while the bytes came in, the version may have been registered, the caller may have
        # lost the right, and the name may be another model's by now.
        with self.places.writing(caller, file) as place:
            self.store.put(source, place.path, replace=replace)

    def _file(self, path: str, file: str) -> Entry:
        found = self.store.find(path)
        if found is None or found.is_folder:
            raise _no_file(file)
        return found

    def _opened(self, path: str, file: str) -> OpenArtifact:
        found = self.store.open(path)
        if found is None:
            raise _no_file(file)
        return found

    def _directory(self, place: Place) -> None:
        found = self.store.find(place.path)
        if found is None and self.places.is_empty_root(place):
            return
        if found is None or not found.is_folder:
            raise NotFound(f"No directory at '{place.file}'.")

    def _read_url(self, caller: Principal, base_url: str, path: str, expire_time: str | None) -> str:
        expires = self.urls.expiry(expire_time)
        grant = Grant(action=Action.READ, user=caller.user_name, expires=expires, path=path)
        return self.urls.sign(base_url, grant)


async def _moving(work: Callable[[], None]) -> None:
    """Do what moves a whole file, among not many such at once."""
    await asyncio.get_running_loop().run_in_executor(_MOVERS, work)


def _absolute(file: str) -> str:
    """A path in a body as paths in URLs have it: without a slash at its end."""
    return f"/{file.strip('/')}"


def _already_there(file: str) -> AlreadyExists:
    return AlreadyExists(f"The file '{file}' already exists.")


def _no_file(file: str) -> NotFound:
    return NotFound(f"No file at '{file}'.")


def _token_of(name: str) -> str:
    return base64.urlsafe_b64encode(name.encode()).decode()


def _name_of(token: str) -> str:
    """
    Raises:
        InvalidParameterValue: no answer has had such a token.
    """
    try:
        return base64.b64decode(token, altchars=b"-_", validate=True).decode()
    except (binascii.Error, ValueError):
        raise InvalidParameterValue(
            "Invalid value for 'page_token': must be the next_page_token of an answer"
        ) from None
