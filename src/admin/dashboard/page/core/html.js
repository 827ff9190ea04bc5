/**
 * The tagged template `html`, which makes elements from templates. A value in a template becomes a text node or an
 * attribute and is never parsed as HTML, so no name or reason that people typed can add an element.
 */
import htm from 'htm';
import { h } from 'preact';

export const html = htm.bind(h);
