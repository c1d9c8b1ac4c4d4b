"""Reading text: files, folders, CSV columns, JSON fields and standard input, decoded and normalized."""

from unrolled.sources.sources import RecordSource as RecordSource
from unrolled.sources.sources import SourceReport as SourceReport
from unrolled.sources.sources import TextSource as TextSource
from unrolled.sources.sources import read_records as read_records
from unrolled.sources.sources import read_sources as read_sources
