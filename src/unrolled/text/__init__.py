"""Text: where it comes from, how it becomes tokens and back, and where generated text stops."""

from unrolled.text.characters import CharacterTokenizer as CharacterTokenizer
from unrolled.text.sources import SourceReport as SourceReport
from unrolled.text.sources import TextSource as TextSource
from unrolled.text.sources import read_sources as read_sources
from unrolled.text.stops import StopScanner as StopScanner
from unrolled.text.tokenizer import IncrementalDecoder as IncrementalDecoder
from unrolled.text.tokenizer import Tokenizer as Tokenizer
from unrolled.text.tokenizer import load_tokenizer as load_tokenizer
