"""Text: where it comes from, how it becomes tokens and back, and where generated text stops."""

from unrolled.text.bpe import BytePairTokenizer as BytePairTokenizer
from unrolled.text.characters import CharacterTokenizer as CharacterTokenizer
from unrolled.text.sources import RecordSource as RecordSource
from unrolled.text.sources import SourceReport as SourceReport
from unrolled.text.sources import TextSource as TextSource
from unrolled.text.sources import read_records as read_records
from unrolled.text.sources import read_sources as read_sources
from unrolled.text.stops import StopScanner as StopScanner
from unrolled.text.tokenizer import IncrementalDecoder as IncrementalDecoder
from unrolled.text.tokenizer import Tokenizer as Tokenizer
from unrolled.text.tokenizer import load_tokenizer as load_tokenizer
from unrolled.text.vocabulary import Coverage as Coverage
from unrolled.text.vocabulary import make_tokenizer as make_tokenizer
from unrolled.text.words import WordTokenizer as WordTokenizer
