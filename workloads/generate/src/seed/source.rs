//! Bytes in: gzip is undone, lines and bytes are counted, limits hold.

use std::io::{self, BufRead, BufReader, Cursor, Read};

use flate2::read::MultiGzDecoder;

use super::{SeedError, SeedLimits};

/// The first bytes of gzip (RFC 1952, section 2.3.1).
const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];
const BUFFER: usize = 64 << 10;

type Bytes<'a> = Box<dyn Read + Send + 'a>;

/// A counted stream of uncompressed bytes.
pub(super) struct Source<'a> {
    inner: BufReader<Bytes<'a>>,
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
    pub(super) fn open(mut input: impl Read + Send + 'a, limits: SeedLimits) -> Result<Self, SeedError> {
        let mut head = Vec::with_capacity(GZIP_MAGIC.len());
        input.by_ref().take(2).read_to_end(&mut head)?;
        let gzip = head == GZIP_MAGIC;
        let whole = Cursor::new(head).chain(input);
        let inner: Bytes<'a> = if gzip {
            Box::new(MultiGzDecoder::new(BufReader::with_capacity(BUFFER, whole)))
        } else {
            Box::new(whole)
        };
        Ok(Self {
            inner: BufReader::with_capacity(BUFFER, inner),
            pushed_back: Cursor::default(),
            gzip,
            limits,
            line: 1,
            offset: 0,
        })
    }

    /// Gives bytes out again, which were the very first ones.
    pub(super) fn rewind_to(&mut self, head: Vec<u8>) {
        self.pushed_back = Cursor::new(head);
        self.line = 1;
        self.offset = 0;
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
        let pushed_back = usize::try_from(self.pushed_back.position()).unwrap_or(usize::MAX);
        if pushed_back < self.pushed_back.get_ref().len() {
            return Ok(&self.pushed_back.get_ref()[pushed_back..]);
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
        let pushed_back = self.pushed_back.position();
        if usize::try_from(pushed_back).is_ok_and(|at| at < self.pushed_back.get_ref().len()) {
            self.pushed_back.set_position(pushed_back + n as u64);
        } else {
            self.inner.consume(n);
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
