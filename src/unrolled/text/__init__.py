"""Text to tokens and back: tokenizers, vocabulary building, stop strings."""

from unrolled.text.bpe import BytePairTokenizer as BytePairTokenizer
from unrolled.text.build import Coverage as Coverage
from unrolled.text.build import make_tokenizer as make_tokenizer
from unrolled.text.characters import CharacterTokenizer as CharacterTokenizer
from unrolled.text.stops import StopScanner as StopScanner
from unrolled.text.tokenizer import IncrementalDecoder as IncrementalDecoder
from unrolled.text.tokenizer import Tokenizer as Tokenizer
from unrolled.text.tokenizer import load_tokenizer as load_tokenizer
from unrolled.text.words import WordTokenizer as WordTokenizer
