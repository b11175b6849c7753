"""Read the files of a multipart form, within the limits on files, fields and names."""

import re
from collections.abc import AsyncGenerator
from urllib.parse import unquote

from starlette.datastructures import FormData, Headers, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser

from service.errors import EmptyImage, FormTooLarge, InvalidParameter, MalformedForm, ServiceError
from service.settings import Settings

_MOST_FIELDS = 8  # no field is allowed; the parser accepts a few so that the error can name one
_EXTENDED_NAME = re.compile(r"filename\*=utf-8''([^;\s\"]+)", re.IGNORECASE)
_LONGEST_NAME = 255  # characters of a file's name in an answer, as on most file systems


class _Parser(MultiPartParser):
    """Starlette's form parser with one change: it refuses a form that is cut short."""

    begun = ended = False

    async def parse(self) -> FormData:
        self.stream = self._whole(self.stream)
        return await super().parse()

    async def _whole(self, stream: AsyncGenerator[bytes]) -> AsyncGenerator[bytes]:
        async for chunk in stream:
            yield chunk
        if self.begun and not self.ended:
            raise MultiPartException("it is cut short, since its last boundary is missing; send it again")

    def on_part_begin(self) -> None:
        super().on_part_begin()
        self.begun = True

    def on_end(self) -> None:
        self.ended = True


async def read_form(
    headers: Headers, stream: AsyncGenerator[bytes], settings: Settings
) -> list[tuple[str, bytes]]:
    """Return the cleaned name and the bytes of every file of a form, in the order sent.

    Raises:
        EmptyImage: the form has no file.
        FormTooLarge: the form has too many files or fields, a very large field, or a very long file name.
        MalformedForm: the form cannot be read.
        InvalidParameter: the form has a field that is not a file.
    """
    parser = _Parser(headers, stream, max_files=settings.max_files, max_fields=_MOST_FIELDS)
    parser.spool_max_size = settings.max_body_bytes + 1  # keeps files in memory: the disk may be read-only
    try:
        form = await parser.parse()
    except MultiPartException as error:
        raise _refusal(error, settings.max_files) from error
    try:
        return await _files(form)
    finally:
        await form.close()


def clean_name(name: str | None) -> str:
    """Return the last part of a file's path, at most 255 characters, without characters that do not print."""
    last = (name or "").replace("\\", "/").rpartition("/")[2]
    return _printable(last)[:_LONGEST_NAME]


def _printable(text: str) -> str:
    return "".join(character for character in text if character.isprintable())


def _refusal(error: MultiPartException, max_files: int) -> ServiceError:
    """Return the service's error for a form that the parser refused.

    The parser raises one class of error for every reason, so its message decides which error is returned.
    """
    why = f"{error.message} {error.__cause__ or ''}"
    if "Too many files" in why:
        return FormTooLarge(
            f"the form has more than {max_files} files (SPARSIGHT_MAX_FILES); send them in several requests"
        )
    if "Too many fields" in why or "Part exceeded" in why:
        return FormTooLarge(
            f"besides at most {max_files} files (SPARSIGHT_MAX_FILES), a form may have no fields; send each"
            " image as a file, as in curl -F image=@photo.jpg, and parameters in the URL, as in ?conf=0.5"
        )
    if "Maximum header" in why:
        return FormTooLarge("a file of the form has too many headers or too long a name; send a shorter name")
    hint = "; let the client set the header Content-Type" if "Missing boundary" in error.message else ""
    return MalformedForm(f"the form cannot be read: {error.message.rstrip('.')}{hint}")


def _sent_name(file: UploadFile) -> str | None:
    # .NET sends a name outside ASCII twice: in MIME's encoding as filename, and readable as filename*.
    extended = _EXTENDED_NAME.search(file.headers.get("content-disposition", ""))
    return unquote(extended[1]) if extended else file.filename


async def _files(form: FormData) -> list[tuple[str, bytes]]:
    files = []
    for name, value in form.multi_items():
        if not isinstance(value, UploadFile):
            shown = _printable(name)[:40]
            sentence = f"form field {shown!r} is not a file; parameters go into the URL, as in ?conf=0.5"
            raise InvalidParameter(shown, sentence)
        files.append((clean_name(_sent_name(value)), await value.read()))
    if not files:
        raise EmptyImage
    return files
