//! Reads fields of kernel structs at the offsets that the agent looked up.

/// A pointer to a kernel struct. The verifier keeps its BTF type, so that it checks every load through it.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub struct Object(*const u8);

impl Object {
    /// From an argument of a hook.
    #[inline(always)]
    pub fn new(pointer: *const u8) -> Self {
        Self(pointer)
    }

    /// The pointer itself.
    #[inline(always)]
    pub fn pointer(self) -> *const u8 {
        self.0
    }

    /// Loads a field. Volatile: one load of exactly this width, which the verifier compares with the field.
    #[inline(always)]
    pub fn load<T: Copy>(self, offset: u32) -> T {
        // SAFETY: the verifier accepts the load only where the struct has a field of that size at the offset, and the
        // kernel turns a fault in it into zeros.
        unsafe { core::ptr::read_volatile(self.0.add(offset as usize).cast()) }
    }

    /// Follows a pointer field.
    #[inline(always)]
    pub fn follow(self, offset: u32) -> Self {
        Self(self.load(offset))
    }
}

/// Reads a field of a program's context: volatile, because the kernel rewrites each access and wants its exact width.
#[macro_export]
macro_rules! context {
    ($context:expr, $($field:tt)+) => {{
        let context = $context;
        // SAFETY: the context is valid for the run of the program, and the verifier checks the access.
        unsafe { core::ptr::read_volatile(&raw const (*context).$($field)+) }
    }};
}

/// Loads a field by its name in the table of kernel fields.
#[macro_export]
macro_rules! field {
    ($object:expr, $name:ident) => {
        $object.load($crate::global!(LAYOUT.$name))
    };
}

/// Follows a pointer field by its name in the table of kernel fields.
#[macro_export]
macro_rules! follow {
    ($object:expr, $name:ident) => {
        $object.follow($crate::global!(LAYOUT.$name))
    };
}
