#!/usr/bin/env bash
# Makes emotalk_ros/live/static/three.js anew: the parts of three.js (MIT) that the live page uses, in one file, so that
# the page needs no network. Needs npm. three.js' licence lies beside it.
#
#   scripts/vendor_three.sh              the version that is vendored now
#   THREE=0.190.0 scripts/vendor_three.sh
set -euo pipefail
static=$(cd "$(dirname "${BASH_SOURCE[0]}")/../emotalk_ros/live/static" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
npm install --silent --no-audit --no-fund "three@${THREE:-0.187.0}" esbuild@0.28
cat > entry.js <<'ENTRY'
export {
  ACESFilmicToneMapping, Box3, BufferAttribute, Color, DirectionalLight, DynamicDrawUsage, Group, HemisphereLight,
  PerspectiveCamera, Scene, SRGBColorSpace, Vector3, WebGLRenderer,
} from 'three';
export { GLTFLoader } from 'three/addons/loaders/GLTFLoader.js';
export { OrbitControls } from 'three/addons/controls/OrbitControls.js';
ENTRY
npx esbuild entry.js --bundle --minify --format=esm --legal-comments=inline --outfile="$static/three.js"
cp node_modules/three/LICENSE "$static/three.LICENSE.txt"
