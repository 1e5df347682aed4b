//! Bytes in: gzip is undone, lines and bytes are counted, limits hold.

use std::io::{self, BufRead, BufReader, Cursor, Read};

use flate2::read::MultiGzDecoder;

use super::{SeedError, SeedLimits};

/// The first bytes of gzip (RFC 1952, section 2.3.1).
const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];
const BUFFER: usize = 64 << 10;
/// How many of the first bytes are looked at together.
const HEAD: usize = 4 << 10;

/// Asked before each read of uncompressed bytes, with how many came before; its error ends the reading.
pub(super) type Watch<'a> = Box<dyn FnMut(u64) -> io::Result<()> + Send + 'a>;

/// Uncompressed bytes with somebody who may end them.
struct Watched<'a> {
    inner: Bytes<'a>,
    watch: Watch<'a>,
    read: u64,
}

impl Read for Watched<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        (self.watch)(self.read)?;
        let read = self.inner.read(buffer)?;
        self.read += read as u64;
        Ok(read)
    }
}

type Bytes<'a> = Box<dyn Read + Send + 'a>;

/// A counted stream of uncompressed bytes.
pub(super) struct Source<'a> {
    inner: BufReader<Watched<'a>>,
    /// Bytes that were read for sniffing and are given out again before the rest.
    pushed_back: Cursor<Vec<u8>>,
    pub(super) gzip: bool,
    pub(super) limits: SeedLimits,
    /// The line of the next byte, from 1.
    pub(super) line: u64,
    /// The position of the next byte, from 0.
    pub(super) offset: u64,
}

/// How a line ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LineRead {
    /// The source was at its end before the line.
    End,
    Line,
    /// The line is longer than a record may be; its rest was skipped.
    TooLong,
}

impl<'a> Source<'a> {
    pub(super) fn open(
        mut input: impl Read + Send + 'a,
        limits: SeedLimits,
        watch: Watch<'a>,
    ) -> Result<Self, SeedError> {
        let mut head = Vec::with_capacity(GZIP_MAGIC.len());
        input.by_ref().take(2).read_to_end(&mut head)?;
        let gzip = head == GZIP_MAGIC;
        let whole = Cursor::new(head).chain(input);
        let inner: Bytes<'a> = if gzip {
            Box::new(MultiGzDecoder::new(BufReader::with_capacity(BUFFER, whole)))
        } else {
            Box::new(whole)
        };
        let mut source = Self {
            inner: BufReader::with_capacity(BUFFER, Watched { inner, watch, read: 0 }),
            pushed_back: Cursor::default(),
            gzip,
            limits,
            line: 1,
            offset: 0,
        };
        source.hold_head()?;
        Ok(source)
    }

    /// Makes the first [`Self::fill`] show the first bytes together, however the input deals them out.
    fn hold_head(&mut self) -> Result<(), SeedError> {
        let mut head = Vec::new();
        while head.len() < HEAD {
            let chunk = self.fill()?;
            if chunk.is_empty() {
                break;
            }
            let used = chunk.len().min(HEAD - head.len());
            head.extend_from_slice(&chunk[..used]);
            self.consume(used, 0);
        }
        self.rewind_to(head);
        Ok(())
    }

    /// Gives bytes out again, which were the very first ones.
    pub(super) fn rewind_to(&mut self, mut head: Vec<u8>) {
        head.extend_from_slice(self.held());
        self.pushed_back = Cursor::new(head);
        self.line = 1;
        self.offset = 0;
    }

    /// The bytes that are to be given out again and weren't yet.
    fn held(&self) -> &[u8] {
        let at = usize::try_from(self.pushed_back.position()).unwrap_or(usize::MAX);
        self.pushed_back.get_ref().get(at..).unwrap_or_default()
    }

    /// What is next in memory, without taking it; empty at the end.
    pub(super) fn fill(&mut self) -> Result<&[u8], SeedError> {
        if self.offset > self.limits.max_total_bytes {
            let limit = self.limits.max_total_bytes;
            return Err(SeedError::broken(
                self.line,
                format!("the data is larger than {limit} bytes uncompressed"),
            ));
        }
        let (line, gzip) = (self.line, self.gzip);
        if !self.held().is_empty() {
            return Ok(self.held());
        }
        loop {
            // The buffer is asked twice because a borrow that is returned from a loop would last through it.
            match self.inner.fill_buf() {
                Ok(_) => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(read_error(error, line, gzip)),
            }
        }
        self.inner.fill_buf().map_err(|error| read_error(error, line, gzip))
    }

    /// Takes `n` of the bytes that [`Self::fill`] showed.
    pub(super) fn consume(&mut self, n: usize, newlines: usize) {
        if self.held().is_empty() {
            self.inner.consume(n);
        } else {
            self.pushed_back.set_position(self.pushed_back.position() + n as u64);
        }
        self.offset += n as u64;
        self.line += newlines as u64;
    }

    /// Appends the next line to `buffer`, with its newline.
    pub(super) fn read_line(&mut self, buffer: &mut Vec<u8>) -> Result<LineRead, SeedError> {
        let limit = self.limits.max_record_bytes;
        let mut read = LineRead::End;
        loop {
            let chunk = self.fill()?;
            if chunk.is_empty() {
                return Ok(read);
            }
            let newline = chunk.iter().position(|b| *b == b'\n');
            let used = newline.map_or(chunk.len(), |at| at + 1);
            if read != LineRead::TooLong {
                buffer.extend_from_slice(&chunk[..used]);
                read = if buffer.len() > limit { LineRead::TooLong } else { LineRead::Line };
                if read == LineRead::TooLong {
                    buffer.truncate(limit);
                }
            }
            self.consume(used, usize::from(newline.is_some()));
            if newline.is_some() {
                return Ok(read);
            }
        }
    }
}

/// A decoder's errors mean that the data is broken; any other error is the source's own.
fn read_error(error: io::Error, line: u64, gzip: bool) -> SeedError {
    let message = match error.kind() {
        io::ErrorKind::UnexpectedEof if gzip => "the gzip data ends too early; upload the whole file",
        io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput if gzip => {
            "the gzip data is damaged; compress and upload the file again"
        }
        _ => return SeedError::Io(error),
    };
    SeedError::broken(line, format!("{message} ({error})"))
}
