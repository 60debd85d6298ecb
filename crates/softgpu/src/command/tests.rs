// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Packets say what was put into them.

use proptest::prelude::*;

use super::{decode, header, Command, MAX_PACKET_WORDS, MAX_PADDING};

fn command() -> impl Strategy<Value = Command> {
    let wide = any::<[u64; 3]>();
    let narrow = any::<[u32; 3]>();
    (0..14, wide, narrow, 0..=MAX_PADDING).prop_map(|(kind, [a, b, c], [x, y, z], padding)| {
        match kind {
            0 => Command::Nop { padding },
            1 => Command::BeginJob { value: a },
            2 => Command::Fence { value: a },
            3 => Command::Fill {
                dst: a,
                words: x,
                value: y,
            },
            4 => Command::Copy {
                dst: a,
                src: b,
                words: x,
            },
            5 => Command::Add {
                dst: a,
                a: b,
                b: c,
                words: x,
            },
            6 => Command::Checksum {
                dst: a,
                src: b,
                words: x,
            },
            7 => Command::MatMul {
                dst: a,
                a: b,
                b: c,
                rows: x,
                inner: y,
                columns: z,
            },
            8 => Command::SemaphoreWait {
                address: a,
                value: x,
            },
            9 => Command::SemaphoreWrite {
                address: a,
                value: x,
            },
            10 => Command::Timestamp { dst: a },
            11 => Command::Spin { ns: a },
            12 => Command::Fault { address: a },
            _ => Command::Hang,
        }
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn a_packet_decodes_to_its_command(command in command()) {
        let mut words = Vec::new();
        command.encode(&mut words);
        prop_assert_eq!(words.len(), command.words());
        let header = header(words[0]).expect("a good header");
        prop_assert_eq!(header.words, words.len());
        prop_assert_eq!(header.opcode, command.opcode());
        words.resize(words.len().max(MAX_PACKET_WORDS), 0);
        prop_assert_eq!(decode(header, &words), Some(command));
    }

    #[test]
    fn a_short_packet_is_no_command(command in command(), missing in 1_usize..9) {
        let mut words = Vec::new();
        command.encode(&mut words);
        let header = header(words[0]).expect("a good header");
        let short = &words[..words.len().saturating_sub(missing).max(1)];
        if short.len() < words.len() && !matches!(command, Command::Nop { .. }) {
            prop_assert_eq!(decode(header, short), None);
        }
    }
}

#[test]
fn too_much_padding_is_as_much_as_there_can_be() {
    let mut words = Vec::new();
    Command::Nop { padding: u16::MAX }.encode(&mut words);
    assert_eq!(words.len(), usize::from(MAX_PADDING) + 1);
    assert_eq!(header(words[0]).map(|header| header.words), Ok(words.len()));
}
