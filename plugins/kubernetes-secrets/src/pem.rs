//! PEM (RFC 7468, with the header lines of RFC 1421): strict inside a block, blind outside of one.
//!
//! A message names a block by its number and line, and never repeats a byte of the input: labels come from a fixed list.

/// One `-----BEGIN …-----` to `-----END …-----`.
#[derive(Debug)]
pub(crate) struct Block {
    /// Counted from one.
    pub(crate) number: usize,
    /// Of the BEGIN line, counted from one.
    pub(crate) line: usize,
    pub(crate) label: Label,
    /// `Proc-Type: 4,ENCRYPTED`: the contents are ciphertext.
    pub(crate) encrypted: bool,
    pub(crate) der: Vec<u8>,
}

impl Block {
    /// `block 2 (line 31)`.
    pub(crate) fn place(&self) -> String {
        place(self.number, self.line)
    }
}

/// What a block says it holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Label {
    Certificate,
    /// With OpenSSL's own trust settings behind the certificate.
    TrustedCertificate,
    CertificateRequest,
    Crl,
    Pkcs8,
    Pkcs1,
    Sec1,
    EncryptedPkcs8,
    DsaKey,
    OpenSshKey,
    PublicKey,
    EcParameters,
    DhParameters,
    Pkcs7,
    Other,
}

const LABELS: [(&str, Label); 18] = [
    ("CERTIFICATE", Label::Certificate),
    ("X509 CERTIFICATE", Label::Certificate),
    ("TRUSTED CERTIFICATE", Label::TrustedCertificate),
    ("CERTIFICATE REQUEST", Label::CertificateRequest),
    ("NEW CERTIFICATE REQUEST", Label::CertificateRequest),
    ("X509 CRL", Label::Crl),
    ("PRIVATE KEY", Label::Pkcs8),
    ("RSA PRIVATE KEY", Label::Pkcs1),
    ("EC PRIVATE KEY", Label::Sec1),
    ("ENCRYPTED PRIVATE KEY", Label::EncryptedPkcs8),
    ("DSA PRIVATE KEY", Label::DsaKey),
    ("OPENSSH PRIVATE KEY", Label::OpenSshKey),
    ("PUBLIC KEY", Label::PublicKey),
    ("RSA PUBLIC KEY", Label::PublicKey),
    ("EC PARAMETERS", Label::EcParameters),
    ("DH PARAMETERS", Label::DhParameters),
    ("PKCS7", Label::Pkcs7),
    ("CMS", Label::Pkcs7),
];

impl Label {
    fn read(text: &[u8]) -> Self {
        LABELS.iter().find(|(name, _)| name.as_bytes() == text).map_or(Self::Other, |(_, label)| *label)
    }

    /// For messages.
    pub(crate) fn name(self) -> &'static str {
        LABELS.iter().find(|(_, label)| *label == self).map_or("something unknown", |(name, _)| name)
    }

    /// Whether the contents are, or may be, a private key.
    pub(crate) fn is_private_key(self) -> bool {
        matches!(self, Self::Pkcs8 | Self::Pkcs1 | Self::Sec1 | Self::EncryptedPkcs8 | Self::DsaKey | Self::OpenSshKey)
    }
}

const BEGIN: &[u8] = b"-----BEGIN ";
const END: &[u8] = b"-----END ";

/// All blocks, in order; none where the text has none.
pub(crate) fn read(text: &[u8]) -> Result<Vec<Block>, String> {
    let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
    let mut blocks = Vec::new();
    let mut lines = text.split(|byte| *byte == b'\n').map(trim_end).zip(1..);
    while let Some((line, at)) = lines.next() {
        if line.starts_with(END) {
            return Err(format!("line {at}: an END line without its BEGIN line"));
        }
        let Some(found) = find(line, BEGIN) else { continue };
        if found > 0 {
            return Err(format!("line {at}: -----BEGIN must start its line (remove what stands before it)"));
        }
        blocks.push(read_block(&line[BEGIN.len()..], blocks.len() + 1, at, &mut lines)?);
    }
    Ok(blocks)
}

fn read_block<'a>(
    begin: &'a [u8],
    number: usize,
    line: usize,
    lines: &mut impl Iterator<Item = (&'a [u8], usize)>,
) -> Result<Block, String> {
    let place = || place(number, line);
    let (label, rest) = boundary(begin).ok_or_else(|| format!("{}: the BEGIN line is cut short", place()))?;
    if rest.starts_with(b"\\n") {
        return Err(format!("{}: the characters \\n stand where line breaks should be", place()));
    }
    if !rest.is_empty() {
        return Err(format!("{}: text follows on the BEGIN line", place()));
    }
    let mut base64 = Base64::default();
    let mut headers = Headers::Possible;
    let mut encrypted = false;
    for (text, at) in lines {
        if let Some(end) = text.strip_prefix(END) {
            let (end, rest) = boundary(end).ok_or_else(|| format!("{}: the END line is cut short", place()))?;
            if end != label {
                return Err(format!("{}: BEGIN and END (line {at}) name different things", place()));
            }
            if rest.starts_with(BEGIN) {
                return Err(format!("{}: a line break is missing between END and the next BEGIN", place()));
            }
            if !rest.is_empty() {
                return Err(format!("{}: text follows on the END line", place()));
            }
            let der = base64.finish().map_err(|wrong| format!("{}: {wrong}", place()))?;
            return Ok(Block { number, line, label: Label::read(label), encrypted, der });
        }
        if find(text, BEGIN).is_some() {
            return Err(format!("{}: its END line is missing before line {at}", place()));
        }
        match headers {
            Headers::Possible if text.contains(&b':') => {
                encrypted |= text.starts_with(b"Proc-Type:") && find(text, b"ENCRYPTED").is_some();
                headers = Headers::Inside;
            }
            Headers::Inside if text.is_empty() => headers = Headers::Over,
            Headers::Inside => {
                encrypted |= text.starts_with(b"Proc-Type:") && find(text, b"ENCRYPTED").is_some();
            }
            Headers::Possible | Headers::Over => {
                headers = Headers::Over;
                base64.line(text).map_err(|wrong| format!("{}: line {at} {wrong}", place()))?;
            }
        }
    }
    Err(format!("{}: its END line is missing", place()))
}

/// RFC 1421 puts header lines, then an empty line, before the contents.
enum Headers {
    Possible,
    Inside,
    Over,
}

fn place(number: usize, line: usize) -> String {
    format!("block {number} (line {line})")
}

/// The label in `LABEL-----` and what follows.
fn boundary(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let dashes = find(text, b"-----")?;
    Some((&text[..dashes], &text[dashes + 5..]))
}

fn find(text: &[u8], what: &[u8]) -> Option<usize> {
    text.windows(what.len()).position(|window| window == what)
}

fn trim_end(mut line: &[u8]) -> &[u8] {
    while let [rest @ .., b' ' | b'\t' | b'\r'] = line {
        line = rest;
    }
    line
}

/// RFC 4648 §4, padded, in its one canonical form.
#[derive(Default)]
struct Base64 {
    bytes: Vec<u8>,
    /// The last zero to three characters.
    pending: u32,
    /// Characters so far, padding included, modulo four.
    phase: u8,
    padding: u8,
}

impl Base64 {
    fn line(&mut self, line: &[u8]) -> Result<(), &'static str> {
        for byte in line {
            let value = match byte {
                b'A'..=b'Z' => byte - b'A',
                b'a'..=b'z' => byte - b'a' + 26,
                b'0'..=b'9' => byte - b'0' + 52,
                b'+' => 62,
                b'/' => 63,
                b'=' if self.phase >= 2 => {
                    self.padding += 1;
                    0
                }
                b'=' => return Err("has a misplaced = sign"),
                _ => return Err("is not base64"),
            };
            if self.padding > 0 && (*byte != b'=' || self.phase == 0) {
                return Err("continues after the padding");
            }
            self.pending = self.pending << 6 | u32::from(value);
            self.phase = (self.phase + 1) % 4;
            if self.phase == 0 {
                let [_, group @ ..] = self.pending.to_be_bytes();
                let kept = 3 - usize::from(self.padding);
                if group[kept..].iter().any(|bits| *bits != 0) {
                    return Err("does not end in whole bytes");
                }
                self.bytes.extend_from_slice(&group[..kept]);
                self.pending = 0;
            }
        }
        Ok(())
    }

    fn finish(self) -> Result<Vec<u8>, &'static str> {
        match (self.phase, self.bytes.is_empty()) {
            (0, false) => Ok(self.bytes),
            (0, true) => Err("it is empty"),
            _ => Err("the base64 is cut short"),
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// As OpenSSL writes it.
    pub(crate) fn pem(label: &str, der: &[u8]) -> String {
        let mut text = format!("-----BEGIN {label}-----\n");
        for line in encode(der).as_bytes().chunks(64) {
            text.push_str(std::str::from_utf8(line).unwrap());
            text.push('\n');
        }
        text + &format!("-----END {label}-----\n")
    }

    fn encode(bytes: &[u8]) -> String {
        const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        let mut text = String::new();
        for group in bytes.chunks(3) {
            let bits = group.iter().chain([0, 0].iter()).take(3).fold(0u32, |bits, byte| bits << 8 | u32::from(*byte));
            for place in 0..4 {
                let letter = ALPHABET[(bits >> (18 - 6 * place) & 63) as usize] as char;
                text.push(if place <= group.len() { letter } else { '=' });
            }
        }
        text
    }

    /// xorshift64*: enough to wander through a parser.
    pub(crate) struct Random(pub(crate) u64);

    impl Random {
        pub(crate) fn next(&mut self) -> u64 {
            self.0 ^= self.0 >> 12;
            self.0 ^= self.0 << 25;
            self.0 ^= self.0 >> 27;
            self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
        }

        pub(crate) fn below(&mut self, bound: usize) -> usize {
            (self.next() % bound as u64) as usize
        }
    }

    fn error(text: &str) -> String {
        read(text.as_bytes()).unwrap_err()
    }

    #[test]
    fn what_is_written_is_read() {
        let mut random = Random(7);
        for length in 1..200 {
            let der: Vec<u8> = (0..length).map(|_| random.next() as u8).collect();
            let blocks = read(pem("CERTIFICATE", &der).as_bytes()).unwrap();
            assert_eq!((blocks.len(), blocks[0].label, &blocks[0].der), (1, Label::Certificate, &der));
        }
    }

    #[test]
    fn text_between_blocks_is_skipped() {
        let text = format!(
            "subject=CN = a\nissuer=CN = b\n{}\n\n# the key: below\n  \n{}trailer",
            pem("CERTIFICATE", b"one"),
            pem("PRIVATE KEY", b"two"),
        );
        let blocks = read(text.as_bytes()).unwrap();
        assert_eq!(blocks.iter().map(|block| (block.number, block.line)).collect::<Vec<_>>(), [(1, 3), (2, 10)]);
        assert_eq!(blocks[1].label, Label::Pkcs8);
        assert!(read(b"").unwrap().is_empty());
        assert!(read(b"no blocks\nhere").unwrap().is_empty());
    }

    #[test]
    fn line_ends_and_widths_are_free() {
        let expected = vec![7; 100];
        let unix = pem("CERTIFICATE", &expected);
        let windows = format!("\u{feff}{}", unix.replace('\n', "\r\n"));
        let padded = unix.replace('\n', " \t\n");
        let one_line = format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----", encode(&expected));
        let gaps = unix.replace('\n', "\n\n");
        for text in [unix, windows, padded, one_line, gaps] {
            assert_eq!(read(text.as_bytes()).unwrap()[0].der, expected, "{text}");
        }
    }

    #[test]
    fn headers_are_read_over() {
        let text = "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,00\n 11\n\nAAAA\n\
                    -----END RSA PRIVATE KEY-----\n";
        let blocks = read(text.as_bytes()).unwrap();
        assert!(blocks[0].encrypted && blocks[0].der == [0; 3]);
        let text = text.replace("4,ENCRYPTED", "4,MIC-CLEAR");
        assert!(!read(text.as_bytes()).unwrap()[0].encrypted);
    }

    #[test]
    fn what_is_wrong_is_named() {
        let good = pem("CERTIFICATE", b"good");
        let cases = [
            ("-----BEGIN CERTIFICATE-----\nAAAA\n", "block 2 (line 4): its END line is missing"),
            (
                "-----BEGIN CERTIFICATE-----\nAAAA\n-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
                "block 2 (line 4): its END line is missing before line 6",
            ),
            (
                "-----BEGIN CERTIFICATE\nAAAA\n-----END CERTIFICATE-----\n",
                "block 2 (line 4): the BEGIN line is cut short",
            ),
            (
                "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE---\n",
                "block 2 (line 4): the END line is cut short",
            ),
            (
                "-----BEGIN CERTIFICATE-----\nAA!A\n-----END CERTIFICATE-----\n",
                "block 2 (line 4): line 5 is not base64",
            ),
            (
                "-----BEGIN CERTIFICATE-----\n AAA\n-----END CERTIFICATE-----\n",
                "block 2 (line 4): line 5 is not base64",
            ),
            (
                "-----BEGIN CERTIFICATE-----\nAAA\n-----END CERTIFICATE-----\n",
                "block 2 (line 4): the base64 is cut short",
            ),
            (
                "-----BEGIN CERTIFICATE-----\nA===\n-----END CERTIFICATE-----\n",
                "block 2 (line 4): line 5 has a misplaced = sign",
            ),
            (
                "-----BEGIN CERTIFICATE-----\nAA==\nAAAA\n-----END CERTIFICATE-----\n",
                "block 2 (line 4): line 6 continues after the padding",
            ),
            (
                "-----BEGIN CERTIFICATE-----\nAA=A\n-----END CERTIFICATE-----\n",
                "block 2 (line 4): line 5 continues after the padding",
            ),
            (
                "-----BEGIN CERTIFICATE-----\nAAA==\n-----END CERTIFICATE-----\n",
                "block 2 (line 4): line 5 has a misplaced = sign",
            ),
            (
                "-----BEGIN CERTIFICATE-----\nAB==\n-----END CERTIFICATE-----\n",
                "block 2 (line 4): line 5 does not end in whole bytes",
            ),
            ("-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n", "block 2 (line 4): it is empty"),
            (
                "-----BEGIN CERTIFICATE-----\nAAAA\n-----END PRIVATE KEY-----\n",
                "block 2 (line 4): BEGIN and END (line 6) name different things",
            ),
            (
                "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----garbage\n",
                "block 2 (line 4): text follows on the END line",
            ),
            ("-----BEGIN CERTIFICATE-----AAAA\n", "block 2 (line 4): text follows on the BEGIN line"),
            (
                r"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
                r"block 2 (line 4): the characters \n stand where line breaks should be",
            ),
            (
                "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE----------BEGIN CERTIFICATE-----\n",
                "block 2 (line 4): a line break is missing between END and the next BEGIN",
            ),
            ("-----END CERTIFICATE-----\n", "line 4: an END line without its BEGIN line"),
            (
                "  -----BEGIN CERTIFICATE-----\n",
                "line 4: -----BEGIN must start its line (remove what stands before it)",
            ),
        ];
        for (text, expected) in cases {
            assert_eq!(error(&format!("{good}{text}")), expected, "{text}");
        }
    }

    #[test]
    fn nothing_panics_and_nothing_leaks() {
        let pieces: [&[u8]; 14] = [
            b"-----BEGIN ",
            b"-----END ",
            b"-----",
            b"CERTIFICATE",
            b"PRIVATE KEY",
            b"\n",
            b"\r\n",
            b"=",
            b"AAAA",
            b"Proc-Type: 4,ENCRYPTED",
            b":",
            b" ",
            b"\xff\x00",
            b"\\n",
        ];
        let mut random = Random(42);
        for _ in 0..20_000 {
            let mut text = Vec::new();
            for _ in 0..random.below(24) {
                match random.below(4) {
                    0 => text.push(random.next() as u8),
                    _ => text.extend_from_slice(pieces[random.below(pieces.len())]),
                }
            }
            if let Err(message) = read(&text) {
                assert!(message.is_ascii() && !message.contains("AAAA"), "{message}");
            }
        }
    }
}
