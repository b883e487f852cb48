//! How is the matrix unit tested on a machine that lacks it?
//!
//! A processor that meets an instruction it does not know has Linux call a signal's handler. This one does what the
//! instruction would have done to tiles of its own, and goes on after it. So tests run the assembly as it is, at a
//! thousandth of its pace. The encodings are those of Intel's "Architecture Instruction Set Extensions Programming
//! Reference", chapter 3.

use std::cell::RefCell;
use std::sync::OnceLock;

use crate::kernels::bfloat16::SIDE;

/// Bytes of a tile's row.
const ROW: usize = 64;

type Tile = [[u32; SIDE]; SIDE];

thread_local! {
    static TILES: RefCell<[Tile; 8]> = const { RefCell::new([[[0; SIDE]; SIDE]; 8]) };
}

/// Takes over what the processor does not know, where the vectors that the unit's operands are rounded with are there.
pub(super) fn begin() -> bool {
    static BEGUN: OnceLock<bool> = OnceLock::new();
    *BEGUN.get_or_init(|| {
        let handler: extern "C" fn(i32, *mut libc::siginfo_t, *mut libc::c_void) = on_unknown;
        // SAFETY: nought is a valid action, of which the fields that count are set; the handler has the form that
        // `SA_SIGINFO` asks for, takes no memory and no lock.
        unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = handler as usize;
            action.sa_flags = libc::SA_SIGINFO;
            libc::sigaction(libc::SIGILL, &raw const action, std::ptr::null_mut()) == 0
        }
    })
}

extern "C" fn on_unknown(_: i32, _: *mut libc::siginfo_t, context: *mut libc::c_void) {
    // SAFETY: Linux hands over what the thread's registers held, and puts back what is left there.
    let registers = unsafe { &mut (*context.cast::<libc::ucontext_t>()).uc_mcontext.gregs };
    let at = registers[libc::REG_RIP as usize];
    // SAFETY: the processor has just read an instruction there. The longest has 15 bytes; as many follow, for what the tests
    // are built with comes after the kernels.
    let code = unsafe { *(at as *const [u8; 15]) };
    let known = Instruction::read(&code)
        .and_then(|instruction| TILES.with_borrow_mut(|tiles| instruction.run(tiles, registers)));
    match known {
        Some(len) => registers[libc::REG_RIP as usize] = at + len,
        // SAFETY: the usual action is set, with which the same instruction ends the process.
        None => unsafe {
            libc::signal(libc::SIGILL, libc::SIG_DFL);
        },
    }
}

type Registers = [i64; 23];

/// An instruction with a prefix of three bytes.
struct Instruction<'a> {
    /// Which one, and which of those that share its number.
    operation: (u8, u8),
    /// Another operand.
    third: usize,
    /// Whether registers are meant from the eighth on: as index, as base.
    upper: (usize, usize),
    /// What comes after the number.
    rest: &'a [u8],
}

impl<'a> Instruction<'a> {
    fn read(code: &'a [u8; 15]) -> Option<Self> {
        let [0xC4, first, second, operation, rest @ ..] = code else { return None };
        if first & 31 != 2 {
            return None;
        }
        let upper = |bit: u8| usize::from(!first >> bit & 1) * 8;
        Some(Self {
            operation: (*operation, second & 3),
            third: usize::from(!second >> 3 & 7),
            upper: (upper(6), upper(5)),
            rest,
        })
    }

    /// Does it; bytes that it takes, if it is one of the unit's.
    fn run(&self, tiles: &mut [Tile; 8], registers: &Registers) -> Option<i64> {
        let (first, other) = (usize::from(self.rest[0] >> 3 & 7), usize::from(self.rest[0] & 7));
        let in_registers = self.rest[0] >> 6 == 3;
        match self.operation {
            // tilerelease
            (0x49, 0) if in_registers => tiles.fill([[0; SIDE]; SIDE]),
            // tilezero
            (0x49, 3) if in_registers => tiles[first] = [[0; SIDE]; SIDE],
            // tdpbf16ps
            (0x5C, 2) if in_registers => {
                let (left, right) = (tiles[other], tiles[self.third]);
                assert!(is_x86_feature_detected!("fma"));
                // SAFETY: asserted.
                unsafe { multiply(&mut tiles[first], &left, &right) };
            }
            _ if in_registers => return None,
            // ldtilecfg
            (0x49, 0) => {
                let (address, _, len) = self.place(registers)?;
                // SAFETY: whoever gives the instruction has 64 bytes there.
                let configuration = unsafe { std::ptr::read_unaligned(address as *const [u8; ROW]) };
                let full = |tile: usize| configuration[16 + 2 * tile] == 64 && configuration[48 + tile] == 16;
                return (configuration[0] == 1 && (0..8).all(full)).then_some(len);
            }
            // tileloadd
            (0x4B, 3) => {
                let (address, stride, len) = self.place(registers)?;
                for (i, row) in tiles[first].iter_mut().enumerate() {
                    // SAFETY: whoever gives the instruction has 16 rows of 64 bytes there.
                    *row = unsafe {
                        std::ptr::read_unaligned((address + i as i64 * stride) as *const [u32; SIDE])
                    };
                }
                return Some(len);
            }
            // tilestored
            (0x4B, 2) => {
                let (address, stride, len) = self.place(registers)?;
                for (i, row) in tiles[first].iter().enumerate() {
                    // SAFETY: as above, and may write there.
                    unsafe {
                        std::ptr::write_unaligned((address + i as i64 * stride) as *mut [u32; SIDE], *row);
                    };
                }
                return Some(len);
            }
            _ => return None,
        }
        Some(5)
    }

    /// Where its memory begins, how far apart rows start, and bytes that the instruction takes; `None` where the place is told
    /// in a way that is not used here.
    fn place(&self, registers: &Registers) -> Option<(i64, i64, i64)> {
        use libc::{
            REG_R8, REG_R9, REG_R10, REG_R11, REG_R12, REG_R13, REG_R14, REG_R15, REG_RAX, REG_RBP, REG_RBX,
            REG_RCX, REG_RDI, REG_RDX, REG_RSI, REG_RSP,
        };
        const ORDER: [i32; 16] = [
            REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP, REG_RSI, REG_RDI, REG_R8, REG_R9, REG_R10,
            REG_R11, REG_R12, REG_R13, REG_R14, REG_R15,
        ];
        /// The number that stands for no index.
        const NONE: usize = 4;
        let register = |i: usize| registers[ORDER[i] as usize];
        let (form, base) = (self.rest[0] >> 6, usize::from(self.rest[0] & 7));
        let (base, index, after) = if base == 4 {
            let both = self.rest[1];
            let index = usize::from(both >> 3 & 7) + self.upper.0;
            let index = if index == NONE { 0 } else { register(index) << (both >> 6) };
            (usize::from(both & 7), index, 2)
        } else {
            (base, 0, 1)
        };
        let (further, len) = match form {
            1 => (i64::from(self.rest[after].cast_signed()), 1),
            2 => {
                let bytes = [0, 1, 2, 3].map(|i| self.rest[after + i]);
                (i64::from(i32::from_le_bytes(bytes)), 4)
            }
            // Without a base.
            _ if base == 5 => return None,
            _ => (0, 0),
        };
        Some((register(base + self.upper.1) + further, index, 4 + (after + len) as i64))
    }
}

/// Adds the products of pairs of bfloat16 values, even and odd ones apart until the end. (The unit takes numbers too small
/// to be normal for nought; here they count.)
#[target_feature(enable = "avx2,fma")]
fn multiply(sums: &mut Tile, left: &Tile, right: &Tile) {
    let parts = |pair: u32| [f32::from_bits(pair << 16), f32::from_bits(pair & 0xFFFF_0000)];
    for (sums, left) in sums.iter_mut().zip(left) {
        let mut own = [[0.0_f32; SIDE]; 2];
        for (&left, right) in left.iter().zip(right) {
            let left = parts(left);
            for (i, &right) in right.iter().enumerate() {
                let right = parts(right);
                own[0][i] = left[0].mul_add(right[0], own[0][i]);
                own[1][i] = left[1].mul_add(right[1], own[1][i]);
            }
        }
        for (i, sum) in sums.iter_mut().enumerate() {
            *sum = (f32::from_bits(*sum) + (own[0][i] + own[1][i])).to_bits();
        }
    }
}
