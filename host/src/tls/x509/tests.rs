use std::net::IpAddr;

use super::rig::{Random, files, v1_contents, value};
use super::*;

fn fault(der: &[u8]) -> &'static str {
    Certificate::parse(der).unwrap_err().0
}

#[test]
fn the_founding_certificates() {
    let der = files().v1("example_certs1/client.example.com", "example_certs1/example.com");
    let root = files().certificate("example_certs1/example.com");
    let (leaf, root) = (Certificate::parse(&der).unwrap(), Certificate::parse(&root).unwrap());
    assert!(leaf.is_v1() && !root.is_v1());
    assert_eq!((leaf.version(), leaf.serial(), root.version()), (1, &[1][..], 3));
    assert_eq!((leaf.issuer(), root.issuer()), (root.subject(), root.subject()));
    assert_eq!(leaf.public_key().rsa_bits(), Some(2048));
    assert!(root.extensions().is_authority && !leaf.extensions().is_authority);
    assert_eq!(leaf.common_name().as_deref(), Some("client.example.com"));
    let summary = Summary::from(&leaf);
    assert_eq!(summary.subject, "O=client organization,CN=client.example.com");
    assert_eq!(root.subject_text(), "CN=example.com,O=example Inc.");
    assert_eq!((summary.serial.as_str(), summary.names.as_slice()), ("01", &["client.example.com".to_owned()][..]));
    assert_eq!(summary.not_after - summary.not_before, 365 * 86_400);
    let server = files().v1("example_certs1/httpbin.example.com", "example_certs1/example.com");
    assert_eq!(Summary::from(&Certificate::parse(&server).unwrap()).serial, "00");
}

#[test]
fn everything_that_extensions_say() {
    let der = files().certificate("full");
    let full = Certificate::parse(&der).unwrap();
    let found = full.extensions();
    assert!(found.extended_key_usage.is_some() && found.name_constraints.is_none() && !found.has_unknown_critical);
    assert!(!found.key_usage.unwrap().signs_certificates());
    assert_eq!(
        Summary::from(&full).names,
        [
            "Client.example.com",
            "*.example.net",
            "spiffe://cluster.local/ns/a/sa/b",
            "ops@example.com",
            "192.0.2.7",
            "2001:db8::7"
        ]
    );
    assert!(matches!(full.names()[4], Name::Ip(IpAddr::V4(_))));
    let dates = [("notBefore", full.not_before()), ("notAfter", full.not_after())];
    let dates = dates.map(|(name, at)| format!("{name}={}\n", utc(at).replace('T', " ")));
    assert_eq!(dates.concat(), files().text("dates.txt"));
    assert_eq!(Summary::from(&full).serial, "1000");

    let read = |name: &str| {
        let der = files().certificate(name);
        Certificate::parse(&der).unwrap().extensions().clone().into_row()
    };
    assert_eq!(read("good"), (true, Some((true, true)), false, false, false));
    assert_eq!(read("no-ca"), (false, None, false, false, false));
    assert_eq!(read("no-sign"), (true, Some((false, false)), false, false, false));
    assert_eq!(read("eku"), (true, None, true, false, false));
    assert_eq!(read("constrained"), (true, None, false, true, false));
    assert_eq!(read("critical"), (true, None, false, false, true));
}

impl Extensions<'_> {
    #[allow(clippy::type_complexity, reason = "a row of a table")]
    fn into_row(self) -> (bool, Option<(bool, bool)>, bool, bool, bool) {
        let usage = self.key_usage.map(|usage| (usage.signs_certificates(), usage.signs_revocation_lists()));
        (
            self.is_authority,
            usage,
            self.extended_key_usage.is_some(),
            self.name_constraints.is_some(),
            self.has_unknown_critical,
        )
    }
}

#[test]
fn subjects_as_openssl_writes_them() {
    let der = files().certificate("subject");
    let subject = Certificate::parse(&der).unwrap();
    let expected = files().text("subject.txt").trim_end_matches('\n').strip_prefix("subject=").unwrap();
    assert_eq!(subject.subject_text(), expected);
    assert_eq!(subject.common_name().as_deref(), Some("関所"));
    let serial = files().text("serial.txt").trim().to_ascii_lowercase();
    assert_eq!(format!("serial={}", Summary::from(&subject).serial), serial);
}

#[test]
fn strings_of_every_kind() {
    let name = |tag: u8, bytes: &[u8]| {
        let part = [value(tag::OID, COMMON_NAME), value(tag, bytes)].concat();
        name_text(&value(tag::SET, &value(tag::SEQUENCE, &part)))
    };
    assert_eq!(name(tag::PRINTABLE_STRING, b" a b "), "CN=\\ a b\\ ");
    assert_eq!(name(tag::TELETEX_STRING, b"\xe9"), "CN=\\C3\\A9");
    assert_eq!(name(tag::BMP_STRING, &[0x95, 0xa2, 0, 0x41]), "CN=\\E9\\96\\A2A");
    assert_eq!(name(tag::UNIVERSAL_STRING, &[0, 0, 0, 0x41]), "CN=A");
    assert_eq!(name(tag::UTF8_STRING, b"a\0\x1b[31m\r\n"), "CN=a\\00\\1B[31m\\0D\\0A");
    assert_eq!(name(tag::BMP_STRING, &[0x41]), "2.5.4.3=#1E0141".replace("2.5.4.3", "CN"));
    assert_eq!(name(tag::UTF8_STRING, b"\xff"), "CN=#0C01FF");
    assert_eq!(name(tag::UTF8_STRING, b""), "CN=");
}

#[test]
fn version_1_ends_at_the_key() {
    let contents = v1_contents(&files().certificate("client3")).concat();
    let good = files().signed(&contents, "example_certs1/example.com");
    assert!(Certificate::parse(&good).unwrap().is_v1());
    let signed = |contents: &[u8]| fault(&files().signed(contents, "example_certs1/example.com")).to_owned();
    let extensions = value(tag::CONTEXT_3, &value(tag::SEQUENCE, &[]));
    assert_eq!(signed(&[&contents[..], &extensions].concat()), "bytes are left over");
    assert_eq!(signed(&[&contents[..], &[0x81, 1, 0]].concat()), "bytes are left over");
    assert_eq!(signed(&[&[0xa0, 3, 2, 1, 0], &contents[..]].concat()), "the version is not 1, 2 or 3");
    assert_eq!(signed(&[&[0xa0, 3, 2, 1, 3], &contents[..]].concat()), "the version is not 1, 2 or 3");
    let second = [&[0xa0, 3, 2, 1, 1], &contents[..], &[0x81, 2, 0, 0]].concat();
    let second = files().signed(&second, "example_certs1/example.com");
    assert_eq!(Certificate::parse(&second).unwrap().version(), 2);
    assert_eq!(fault(&[&good[..], &[0]].concat()), "bytes are left over");
    assert_eq!(fault(&good[..good.len() - 1]), "it is cut short");
    assert_eq!(
        fault(&files().signed(&contents, "p256")),
        "the signature algorithm differs inside and outside of what is signed"
    );
}

#[test]
fn no_extension_comes_twice() {
    let extension = |id: u8| value(tag::SEQUENCE, &[6, 3, 0x55, 0x1d, id, 4, 2, 5, 0]);
    let with = |extensions: &[Vec<u8>]| {
        let list = value(tag::CONTEXT_3, &value(tag::SEQUENCE, &extensions.concat()));
        let contents =
            [&[0xa0, 3, 2, 1, 2], &v1_contents(&files().certificate("client3")).concat()[..], &list].concat();
        files().signed(&contents, "example_certs1/example.com")
    };
    assert!(Certificate::parse(&with(&[extension(90), extension(91)])).is_ok());
    assert_eq!(fault(&with(&[extension(90), extension(91), extension(90)])), "an extension comes twice");
}

#[test]
fn lengths_and_numbers_have_one_form() {
    let any = |bytes: &[u8]| Reader::new(bytes).any().map(|(_, value)| value.len()).map_err(|wrong| wrong.0);
    assert_eq!(any(&[4, 0]), Ok(0));
    assert_eq!(any(&[&[4, 0x81, 0x80][..], &[0; 128]].concat()), Ok(128));
    assert!(any(&[&[4, 0x81, 0x7f][..], &[0; 127]].concat()).is_err());
    assert!(any(&[&[4, 0x82, 0, 0x80][..], &[0; 128]].concat()).is_err());
    assert!(any(&[&[4, 0x80][..], &[0, 0]].concat()).is_err());
    assert!(any(&[4, 0x84, 0xff, 0xff, 0xff, 0xff]).is_err());
    assert!(any(&[4, 0x85, 1, 0, 0, 0, 0]).is_err());
    assert!(any(&[0x1f, 0x81, 0]).is_err());
    assert!(any(&[]).is_err() && any(&[4]).is_err() && any(&[4, 2, 0]).is_err());
    let integer = |bytes: &[u8]| Reader::new(&value(tag::INTEGER, bytes)).integer().is_ok();
    assert!(integer(&[0]) && integer(&[0, 0x80]) && integer(&[0xff]) && integer(&[0xff, 0x7f]));
    assert!(!integer(&[]) && !integer(&[0, 0x7f]) && !integer(&[0xff, 0x80]));
    assert_eq!([&[0][..], &[0, 0x80], &[0x7f], &[0xff, 0x7f]].map(der::hex_integer), ["00", "80", "7f", "-81"]);
    assert_eq!([&[0][..], &[1], &[0, 0x80, 0], &[4, 0]].map(|i| der::bit_length(i).unwrap()), [0, 1, 16, 11]);
    assert_eq!(der::dotted(&[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d]), "1.2.840.113549");
    assert_eq!(der::dotted(&[0x88, 0x37, 3]), "2.999.3");
}

#[test]
fn times() {
    let short = |text: &str| Reader::new(&value(tag::UTC_TIME, text.as_bytes())).time().map_err(|wrong| wrong.0);
    let general = |text: &str| Reader::new(&value(tag::GENERALIZED_TIME, text.as_bytes())).time().ok();
    assert_eq!(short("700101000000Z"), Ok(0));
    assert_eq!(short("491231235959Z"), Ok(2_524_607_999));
    assert_eq!(short("500101000000Z"), Ok(-631_152_000));
    assert_eq!(general("20000229120000Z"), Some(951_825_600));
    assert_eq!(general("99991231235959Z"), Some(253_402_300_799));
    assert_eq!(general("00000101000000Z"), Some(-62_167_219_200));
    for wrong in ["19000229000000Z", "20230229000000Z", "20240431000000Z", "20241301000000Z", "20240101240000Z"] {
        assert_eq!(general(wrong), None, "{wrong}");
    }
    for wrong in ["20240101000060Z", "202401010000Z", "20240101000000+", "2024010100000 Z", "20240101000000.0Z"] {
        assert_eq!(general(wrong), None, "{wrong}");
    }
    assert_eq!(utc(253_402_300_799), "9999-12-31T23:59:59Z");
    assert_eq!(utc(-62_167_219_200), "0000-01-01T00:00:00Z");
    assert_eq!(utc(951_825_600), "2000-02-29T12:00:00Z");
    let mut random = Random(3);
    for _ in 0..10_000 {
        let at = random.next() as i64 % 253_402_300_799;
        if (-62_167_219_200..=253_402_300_799).contains(&at) {
            let digits: String = utc(at).chars().filter(char::is_ascii_digit).collect();
            assert_eq!(general(&(digits + "Z")), Some(at));
        }
    }
}

#[test]
fn revocation_lists() {
    let (list, root) = (files().crl("one"), files().certificate("example_certs1/example.com"));
    let list = RevocationList::parse(&list).unwrap();
    assert_eq!(list.issuer, Certificate::parse(&root).unwrap().subject());
    assert_eq!(list.next_update.unwrap() - list.this_update, 30 * 86_400);
    assert_eq!(list.issuer_text(), "CN=example.com,O=example Inc.");
}

/// Whatever rustls-webpki takes, this reads too, and says the same of it.
#[test]
fn webpki_agrees() {
    for der in files().certificates() {
        let own = Certificate::parse(&der).unwrap();
        let Ok(theirs) = webpki::EndEntityCert::try_from(&der) else { continue };
        assert_eq!(theirs.serial(), own.serial());
        assert_eq!((theirs.issuer(), theirs.subject()), (own.issuer(), own.subject()));
        assert_eq!(theirs.subject_public_key_info().as_ref(), own.spki());
    }
}

#[test]
fn mutations_never_panic() {
    let mut random = Random(2026);
    let mut read = 0;
    for der in files().certificates() {
        for _ in 0..1_000 {
            let mut bytes = der.to_vec();
            random.mutate(&mut bytes);
            if let Ok(certificate) = Certificate::parse(&bytes) {
                read += 1;
                let summary = Summary::from(&certificate);
                assert!(summary.subject.is_ascii());
                let _ = certificate.public_key().rsa_bits();
            }
        }
    }
    assert!(read > 100, "the mutations are too coarse: {read}");
    for name in ["none", "one", "inter"] {
        let list = files().crl(name);
        for _ in 0..2_000 {
            let mut bytes = list.to_vec();
            random.mutate(&mut bytes);
            if let Ok(list) = RevocationList::parse(&bytes) {
                let _ = list.issuer_text();
            }
        }
    }
}
