//! Both sides of signed messages against each other, and each thing that can be wrong.

use super::*;

const SECRET: &str = "c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0";

fn key(name: &str) -> TsigKey {
    TsigKey::new(name, "hmac-sha256", SECRET).unwrap()
}

fn message(id: u8) -> Vec<u8> {
    let head = [0, id, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    [&head[..], b"\x04shop\x07example\0\0\x06\0\x01"].concat()
}

fn at(seconds: u64) -> Timestamp {
    Timestamp::from_seconds(1_700_000_000 + seconds)
}

/// Answers to one request, signed or not as said; what the one who asked says to each.
fn converse(signs: &[bool], change: impl Fn(usize, &mut Vec<u8>), late: u64) -> Vec<String> {
    let key = key("a.key");
    let mut request = message(1);
    let mac = sign_request(&key, &mut request, at(0));
    let mut signed = check_request([&key], &mut request, at(1)).unwrap().unwrap();
    assert_eq!(request, message(1));
    let mut verifier = Verifier::new(&key, mac);
    let mut unsigned: Vec<u8> = Vec::new();
    let mut told = Vec::new();
    for (index, sign) in signs.iter().enumerate() {
        let mut answer = message(u8::try_from(index % 256).unwrap());
        if *sign {
            // The unsigned ones before it are covered too.
            let mut all = Signed { key: &key, prior: signed.prior.clone(), ..signed };
            let is_first = all.is_first;
            if unsigned.is_empty() {
                all.sign_answer(&mut answer, at(1));
                (signed.prior, signed.is_first) = (all.prior, false);
            } else {
                assert!(!is_first);
                let variables = Variables::at(at(1));
                let mut context = context(&key, &signed.prior);
                context.update(&std::mem::take(&mut unsigned));
                context.update(&answer);
                context.update(&variables.timers());
                signed.prior = context.sign().as_ref().to_vec();
                variables.append(&key, &signed.prior, &mut answer);
            }
        } else {
            unsigned.extend_from_slice(&answer);
        }
        change(index, &mut answer);
        match verifier.check(&mut answer, at(1 + late)) {
            Ok(()) => told.push(format!("fine, complete: {}", verifier.is_complete())),
            Err(fault) => {
                told.push(fault.to_string());
                break;
            }
        }
    }
    told
}

#[test]
fn answers_in_a_row_are_verified() {
    let fine = "fine, complete: true";
    assert_eq!(converse(&[true, true, true], |_, _| {}, 0), [fine; 3]);
    let with_gap = converse(&[true, false, false, true, true], |_, _| {}, 0);
    assert_eq!(with_gap[1], "fine, complete: false");
    assert_eq!(with_gap[3..], [fine; 2]);
}

#[test]
fn a_changed_answer_is_found_even_if_it_is_not_signed_itself() {
    let flip = |which| move |index, answer: &mut Vec<u8>| answer[14] ^= u8::from(index == which);
    assert_eq!(converse(&[true, true], flip(0), 0), ["its signature is wrong"]);
    let told = converse(&[true, false, true], flip(1), 0);
    assert_eq!(told.last().unwrap(), "its signature is wrong");
}

#[test]
fn what_is_not_signed_is_told() {
    assert_eq!(converse(&[false], |_, _| {}, 0), ["it is not signed"]);
    let mut signs = vec![true];
    signs.extend([false; 100]);
    let told = converse(&signs, |_, _| {}, 0);
    assert_eq!(told.len(), 101);
    assert_eq!(told.last().unwrap(), "more than 99 messages in a row are not signed");
    signs.pop();
    signs.push(true);
    assert_eq!(converse(&signs, |_, _| {}, 0).last().unwrap(), "fine, complete: true");
}

#[test]
fn an_expired_signature_is_told() {
    let late = converse(&[true], |_, _| {}, 301);
    assert_eq!(late, ["its signature is expired, or not valid yet"]);
}

#[test]
fn a_record_behind_the_signature_is_malformed() {
    let told = converse(
        &[true],
        |_, answer| {
            answer[11] += 1;
            answer.extend_from_slice(b"\0\0\x10\0\x01\0\0\0\0\0\x02\x01x");
        },
        0,
    );
    assert_eq!(told, ["its TSIG record is malformed or not the last"]);
}

#[test]
fn requests_with_a_wrong_key_signature_or_time_are_turned_away() {
    let told = |asked: &TsigKey, change: fn(&mut Vec<u8>), now| {
        let held = key("a.key");
        let mut request = message(1);
        let mac = sign_request(asked, &mut request, at(0));
        change(&mut request);
        let turned = check_request([&held], &mut request, at(now)).unwrap_err();
        assert!(!turned.is_malformed());
        let fault = turned.fault.to_string();
        let mut answer = message(1);
        turned.finish(&mut answer, at(now));
        let other_side = Verifier::new(asked, mac).check(&mut answer, at(now)).unwrap_err();
        (fault, other_side.to_string())
    };
    let refused = |code| format!("the other side refuses our signature: {code}");
    let (fault, other_side) = told(&key("b.key"), |_| {}, 0);
    assert_eq!(fault, "it is signed with another key");
    assert_eq!(other_side, refused("BADKEY(17)"));
    let (fault, other_side) = told(&key("a.key"), |request| request[14] ^= 1, 0);
    assert_eq!(fault, "its signature is wrong");
    assert_eq!(other_side, refused("BADSIG(16)"));
    let (fault, other_side) = told(&key("a.key"), |_| {}, 301);
    assert_eq!(fault, "its signature is expired, or not valid yet");
    assert_eq!(other_side, refused("BADTIME(18)"));
}

#[test]
fn a_request_without_a_signature_is_told_apart() {
    let key = key("a.key");
    assert!(check_request([&key], &mut message(1), at(0)).unwrap().is_none());
    let mut wrong = message(1);
    wrong[11] = 1;
    assert!(check_request([&key], &mut wrong, at(0)).unwrap_err().is_malformed());
}

#[test]
fn keys_that_cannot_be_used_are_refused() {
    let refusal =
        |name, algorithm, secret| TsigKey::new(name, algorithm, secret).unwrap_err().to_string();
    assert_eq!(refusal("a..b", "hmac-sha256", SECRET), "a..b is not a domain name");
    assert_eq!(
        refusal("a", "hmac-md5", SECRET),
        "hmac-md5 is not one of hmac-sha256, hmac-sha384 and hmac-sha512"
    );
    assert_eq!(refusal("a", "hmac-sha256", "%"), "the secret is not in base64");
    assert_eq!(
        refusal("a", "hmac-sha256", "c2hvcnQ="),
        "the secret has 5 octets; accepted are 16 or more"
    );
}

#[test]
fn a_key_does_not_show_its_secret() {
    assert_eq!(format!("{:?}", key("a.key")), "TsigKey(a.key hmac-sha256, secret withheld)");
}
