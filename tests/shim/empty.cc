// SPDX-License-Identifier: Apache-2.0
// A library needs a source of its own, in the language it is to be linked as.
