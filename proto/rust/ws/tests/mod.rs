//! `property` holds for any bytes and is shared with the fuzz target; `corpus` drives it with the fuzzer's
//! files and mutations of them; `oracle` compares with tungstenite; `refusals` names every error.

use crate::ws;

mod corpus;
mod memory;
mod oracle;
mod property;
mod refusals;

/// A client's frame with a mask that is not zero; `first` is FIN, reserved bits and opcode.
fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
    const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];
    let mut frame = vec![first];
    match payload.len() {
        len @ 0..=125 => frame.push(0x80 | len as u8),
        len @ 126..=0xffff => {
            frame.push(0x80 | 126);
            frame.extend((len as u16).to_be_bytes());
        }
        len => {
            frame.push(0x80 | 127);
            frame.extend((len as u64).to_be_bytes());
        }
    }
    frame.extend(MASK);
    frame.extend(payload.iter().zip(MASK.iter().cycle()).map(|(byte, key)| byte ^ key));
    frame
}
