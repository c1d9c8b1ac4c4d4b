"""Data: any text as token sequences on disk, and batches of them."""

from unrolled.data.batches import Batch as Batch
from unrolled.data.batches import Batcher as Batcher
from unrolled.data.batches import RandomWindows as RandomWindows
from unrolled.data.batches import Streams as Streams
from unrolled.data.batches import fit_to_text as fit_to_text
from unrolled.data.corpus import Corpus as Corpus
from unrolled.data.corpus import open_cached as open_cached
from unrolled.data.corpus import prepare_corpus as prepare_corpus
from unrolled.data.encoding import TokenSequence as TokenSequence
from unrolled.data.encoding import encode_text as encode_text
from unrolled.data.splits import encode_split as encode_split
